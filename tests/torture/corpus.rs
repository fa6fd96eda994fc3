//! Answers as TresorPay, its framework, its proxies and its token endpoint give them: what the fuzzer starts from.

/// References that the daemon is supposed to have asked about.
pub(crate) const REFERENCES: [&str; 3] = ["TP20241231.1048.AR3", "TP20241231.1048.AR4", "TP 5/é"];
/// A payer whom no scrubbed text may name.
pub(crate) const NAME: &str = "Zoumanadiarra";

/// Bodies.
pub(crate) const BODIES: [&[u8]; 24] = [
    br#"{"reference":"TP20241231.1048.AR3","status":"EMITTED"}"#,
    br#"{"reference":"TP20241231.1048.AR3","status":"CANCELED"}"#,
    br#"{"reference":"TP20241231.1048.AR3","reference":"TP20241231.1048.AR4","status":"EMITTED"}"#,
    br#"{"reference":null,"status":"EMITTED"}"#,
    "{\"reference\":\"TP 5/é\",\"status\":\"EMITTED\",\"montant\":1e3,\"été\":[true,{}]}".as_bytes(),
    br#"{"reference":"TP20241231.1048.AR3","provider":"ORANGE_MONEY","payDate":"2025-12-19T15:00:00","status":"PAID"}"#,
    br#"[{"reference":"TP20241231.1048.AR3","provider":null,"payDate":null,"status":"EMITTED"},{"reference":"TP20241231.1048.AR4","provider":"WAVE","payDate":"2025-12-19T15:00:00","status":"SUCCESS"}]"#,
    br#"[{"reference":"TP20241231.1048.AR4","status":"EN_TRAITEMENT"},null,7,{"reference":[]}]"#,
    br#"{"type":"https://www.jhipster.tech/problem/problem-with-message","title":"La service client n'est pas dans cette structure","status":400,"instance":"/api/public/v1/payment/create-notice-recette","message":"error.SERVICE_CLIENT_NOT_FOUND","params":"appTransaction"}"#,
    br#"{"type":"https://www.jhipster.tech/problem/constraint-violation","title":"Method argument not valid","status":400,"path":"/api","message":"error.validation","fieldErrors":[{"objectName":"noticeRecetteDTO","field":"taxPayer.name","message":"NotNull"},{"objectName":"noticeRecetteDTO","field":"netTotal","message":"Zoumanadiarra"}]}"#,
    br#"{"type":"about:blank","title":"Not Found","status":404,"detail":"No static resource","instance":"/api","message":"error.http.404"}"#,
    "{\"title\":\"L'avis de recette n'existe pas\",\"status\":404,\"message\":\"error.NOTICE_NOT_FOUND\"}".as_bytes(),
    "{\"title\":\"La structure STR n'existe pas\",\"status\":404,\"message\":\"error.STRUCTURE_NOT_FOUND\"}".as_bytes(),
    br#"{"type":"about:blank","title":"Service Unavailable","status":503,"message":"error.http.503"}"#,
    "{\"title\":\"Le nom ZOUMANADIARRA est déjà pris par zoumanadiarra\",\"status\":409,\"message\":\"error.EXISTS\"}".as_bytes(),
    br#"{"timestamp":"2026-11-24T09:48:00Z","status":404,"error":"Not Found","message":"No message available","path":"/x"}"#,
    br#"{"message":"no Route matched with those values"}"#,
    br"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center><hr>nginx</body></html>",
    br#"{"access_token":"eyJhbGciOiJSUzI1NiJ9.e30.c2ln","expires_in":300,"refresh_expires_in":0,"token_type":"Bearer","not-before-policy":0,"scope":"tresorpay"}"#,
    br#"{"access_token":"a","expires_in":"300","token_type":"bearer"}"#,
    br#"{"error":"invalid_client","error_description":"Invalid client or Invalid client credentials"}"#,
    b"",
    b"null",
    b"\xef\xbb\xbf{}",
];

/// Pieces that a mutation puts in: where parsers differ.
pub(crate) const WORDS: [&[u8]; 40] = [
    b"\"reference\":",
    b"\"status\":",
    b"\"message\":",
    b"\"title\":",
    b"\"type\":",
    b"\"fieldErrors\":",
    b"\"expires_in\":",
    b"\"EMITTED\"",
    b"\"CANCELED\"",
    b"\"cancelled \"",
    b"\"PAID\"",
    b"\"TP20241231.1048.AR3\"",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\\ud83d\\ude00",
    b"\x00",
    b"\r\n",
    b"\xc3",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"400.0",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"Zoumanadiarra",
    "\u{130}\u{1e9e}\u{fb03}".as_bytes(),
    b"        ",
];

/// HTTP statuses worth asking about more often than others.
pub(crate) const STATUSES: [u16; 30] = [
    200, 201, 202, 204, 206, 299, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406, 408,
    409, 413, 415, 422, 429, 500, 502, 503, 504,
];

/// `Retry-After`, and what passes for it.
pub(crate) const RETRY_AFTER: [&[u8]; 14] = [
    b"0",
    b"1",
    b"120",
    b" 7 ",
    b"3600",
    b"99999999999999999999",
    b"-1",
    b"1.5",
    b"Tue, 24 Nov 2026 09:48:30 GMT",
    b"Tuesday, 24-Nov-26 09:48:30 GMT",
    b"Tue Nov 24 09:48:30 2026",
    b"Thu, 01 Jan 1970 00:00:00 GMT",
    b"Fri, 31 Dec 9999 23:59:60 GMT",
    b"soon",
];

/// Phone numbers, and what passes for them.
pub(crate) const PHONES: [&[u8]; 8] = [
    b"+223 70 12 34 56",
    b"0022370123456",
    b"22312345",
    b"(+223) 70-12-34-56",
    b"20 21 22 23",
    "٧٠١٢٣٤٥٦".as_bytes(),
    b"7012345",
    b"",
];
