//! Why a server's certificate was refused: expired, not valid yet, or another reason. The first two are as often this
//! machine's clock as the certificate, so the words name both times.

use std::{error::Error, io};

use chrono::{DateTime, SecondsFormat};
use rustls::{CertificateError, pki_types::UnixTime};

use super::ErrorCode;

/// What is wrong with the certificate, if that is what `error` is about: the stable code, and words.
pub(super) fn fault(error: &(dyn Error + 'static)) -> Option<(ErrorCode, String)> {
    let refused = causes(error).find_map(|cause| match cause.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(refused) => Some(refused.clone()),
        _ => None,
    })?;
    Some(words(&refused))
}

/// The chain of causes, with those that an I/O error carries: it leaves itself out of its own chain.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

fn words(refused: &CertificateError) -> (ErrorCode, String) {
    const CHECK: &str =
        "if this clock is wrong, set it; if not, who runs the server has to renew its certificate";
    match refused {
        CertificateError::ExpiredContext { time, not_after } => (
            ErrorCode::CertificateExpired,
            format!(
                "the server's certificate expired at {}, and this machine's clock says {}; {CHECK}",
                text(*not_after),
                text(*time)
            ),
        ),
        CertificateError::Expired => {
            (ErrorCode::CertificateExpired, format!("the server's certificate has expired; {CHECK}"))
        }
        CertificateError::NotValidYetContext { time, not_before } => (
            ErrorCode::CertificateNotYetValid,
            format!(
                "the server's certificate is valid from {}, and this machine's clock says {}; {CHECK}",
                text(*not_before),
                text(*time)
            ),
        ),
        CertificateError::NotValidYet => {
            (ErrorCode::CertificateNotYetValid, format!("the server's certificate is not valid yet; {CHECK}"))
        }
        other => (
            ErrorCode::CertificateRefused,
            format!(
                "the server's certificate is not accepted: {}; check the address, api.ca_file, and whether a proxy answers \
                 in the server's place",
                rustls::Error::InvalidCertificate(other.clone())
            ),
        ),
    }
}

fn text(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .map_or_else(|| "an unknown time".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(refused: CertificateError) -> Option<(ErrorCode, String)> {
        // As the TLS layer hands it on.
        fault(&io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(refused))))
    }

    #[test]
    fn the_two_that_may_be_the_clock_name_both_times() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired =
            CertificateError::ExpiredContext { time: time(1_800_000_000), not_after: time(1_700_000_000) };
        let early = CertificateError::NotValidYetContext { time: time(0), not_before: time(1_700_000_000) };
        for (refused, code) in
            [(expired, ErrorCode::CertificateExpired), (early, ErrorCode::CertificateNotYetValid)]
        {
            let told = of(refused.clone());
            assert!(
                told.as_ref()
                    .is_some_and(|(told, words)| *told == code && words.contains("2023-11-14T22:13:20Z")),
                "{told:?}"
            );
        }
        assert_eq!(
            of(CertificateError::UnknownIssuer).map(|told| told.0),
            Some(ErrorCode::CertificateRefused)
        );
    }

    #[test]
    fn other_errors_are_none_of_its_business() {
        assert_eq!(fault(&io::Error::other(rustls::Error::HandshakeNotComplete)), None);
        assert_eq!(fault(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }
}
