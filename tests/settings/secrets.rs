//! Secrets: unchanged on every way in, and on no way out.

use std::fs;

use secrecy::ExposeSecret;

use crate::bench::Bench;

#[test]
fn a_secret_stays_as_it_was_given_by_every_way() {
    let secret = |bench: &Bench| {
        let credentials = bench.good().auth.credentials.unwrap();
        credentials.client_secret.expose_secret().to_owned()
    };
    let bench = || Bench::new().everything().set("auth.client_id", "me");
    assert_eq!(secret(&bench().set("auth.client_secret", "0012")), "0012");
    assert_eq!(secret(&bench().set("auth.client_secret", "true")), "true");
    assert_eq!(secret(&bench().set("auth.client_secret", " 1e3 ")), " 1e3 ");
    assert_eq!(secret(&bench().file("[auth]\nclient_secret = \"0012\"\n")), "0012");
    assert_eq!(secret(&bench().credential("client_secret", "0012\n")), "0012");
    assert_eq!(secret(&bench().credential("client_secret", "0012 \r\n")), "0012 ");
    let from_file = bench();
    let path = from_file.write("secret", "0012\n").display().to_string();
    assert_eq!(secret(&from_file.set("auth.client_secret_file", &path)), "0012");
}

#[test]
fn two_secrets_are_one_too_many() {
    let bench = Bench::new().account();
    let path = bench.write("secret", "0012").display().to_string();
    let bench = bench.set("auth.client_secret_file", &path);
    let problem = bench.problem();
    assert_eq!(problem.key, "auth.client_secret");
    assert!(problem.message.contains("auth.client_secret_file"), "{problem}");
    assert!(problem.source.contains("TRESORPAYD__AUTH__CLIENT_SECRET"), "{problem}");
}

#[test]
fn what_only_asks_the_database_reads_no_secret() {
    let bench =
        Bench::new().set("auth.client_secret_file", "/nowhere/secret").credential("client_secret", "\n");
    fs::create_dir(bench.path("credentials/client_id")).unwrap();
    assert!(bench.good().auth.credentials.is_none());
    let problems = bench.everything().problems();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["auth.client_id", "auth.client_secret"]);
    assert!(problems[0].message.starts_with("cannot be read"), "{}", problems[0]);
}

#[test]
fn a_credential_that_cannot_be_used_is_named_by_its_path() {
    for content in ["\n", "two\nlines", "tab\there"] {
        let bench = Bench::new().account().credential("client_secret", content);
        let problem = bench.problem();
        assert_eq!(problem.key, "auth.client_secret", "{content:?}");
        assert!(problem.source.ends_with("credentials/client_secret"), "{problem}");
    }
    let bench = Bench::new().account().set("auth.client_secret", "");
    let path = bench.path("secret").display().to_string();
    let mut bench = bench.set("auth.client_secret_file", &path);
    bench.sources.environment.retain(|(name, _)| name != "TRESORPAYD__AUTH__CLIENT_SECRET");
    let problem = bench.problem();
    assert!(problem.message.contains(&path) && problem.message.contains("No such file"), "{problem}");
}

const SECRET: &str = "hunter2-s3cr3t";

#[test]
fn no_error_shows_a_secret() {
    let benches = [
        Bench::new().everything().file(&format!("[auth]\nclient_secrt = \"{SECRET}\"\n")),
        Bench::new().everything().file(&format!("[auth]\nclient_secret = [\"{SECRET}\"]\n")),
        Bench::new().everything().file(&format!("[auth]\nclient_secret = \"{SECRET}\n")),
        Bench::new().everything().file(&format!("[auth]\nclient_secret = {SECRET}\n")),
        Bench::new().everything().file(&format!("[http]\ntoken = \"{SECRET} x\"\n")),
        Bench::new().everything().set("auth.client_secret", &format!("{SECRET}\nx")),
        Bench::new().everything().set("auth.client_secret_file", SECRET),
        Bench::new().everything().set("auth.client_secret.x", SECRET),
        Bench::new().everything().set("http.token", &format!("{SECRET} é")),
        Bench::new().everything().set("api.proxy", &format!("http://u:{SECRET}@proxy/path")),
        Bench::new().everything().set("api.proxy", &format!("http://u:{SECRET}")),
        Bench::new().everything().set("api.proxy", &format!("u:{SECRET}@proxy:3128")),
        Bench::new().everything().set("api.proxy", &format!("http://u:a/b@{SECRET}@proxy:1")),
        Bench::new().everything().set("api.base_url", &format!("https://u:{SECRET}@tresorpay.ml")),
        Bench::new().everything().credential("client_secret", &format!("{SECRET}\n{SECRET}")),
    ];
    for bench in benches {
        let error = bench.load().unwrap_err();
        assert!(!format!("{error} {error:?} {:?}", bench.sources).contains(SECRET), "{error}");
    }
}

#[test]
fn no_debug_output_shows_a_secret() {
    let bench = Bench::new()
        .everything()
        .set("auth.client_id", "me")
        .set("auth.client_secret", SECRET)
        .set("http.token", SECRET)
        .set("api.proxy", &format!("http://{SECRET}:{SECRET}@proxy.example:3128"));
    let settings = bench.good();
    assert_eq!(settings.api.proxy.as_ref().unwrap().password(), Some(SECRET));
    let told = format!("{settings:?} {settings:#?} {:?} {:?}", settings.origins(), bench.sources);
    assert!(!told.contains(SECRET), "{told}");
    assert!(told.contains("http://***@proxy.example:3128"), "{told}");
}
