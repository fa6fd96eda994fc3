//! The PDF receipt of a paid notice: asked for, and told from anything else by its bytes.

use reqwest::Method;

use super::{
    ErrorCode, StatusFailure, TresorPay,
    client::{below, read_success},
};
use crate::notice::TresorPayReference;

/// Largest receipt that is taken, in bytes.
const MAX_RECEIPT: usize = 10 * 1024 * 1024;
/// How a PDF begins.
const PDF_HEAD: &[u8] = b"%PDF-";
/// How a PDF ends, and within how many bytes of its end.
const PDF_END: &[u8] = b"%%EOF";
const PDF_END_WITHIN: usize = 1024;

impl TresorPay {
    /// The receipt of a paid notice, a whole PDF.
    pub async fn receipt(&self, reference: &TresorPayReference) -> Result<Vec<u8>, StatusFailure> {
        let url = below(&self.base_url, &["documents", "receipt", "download", reference.as_str()]);
        let (status, bytes) = read_success(self.exchange(Method::GET, &url, None, MAX_RECEIPT).await)?;
        if is_whole_pdf(&bytes) {
            return Ok(bytes);
        }
        let detail = format!("HTTP {status}, and the {} bytes that came are no whole PDF", bytes.len());
        Err(StatusFailure::Failed { code: ErrorCode::UnusableAnswer, detail, pause: None })
    }
}

/// A page of HTML is none, nor is a PDF whose end is missing.
fn is_whole_pdf(bytes: &[u8]) -> bool {
    let end = &bytes[bytes.len().saturating_sub(PDF_END_WITHIN)..];
    bytes.starts_with(PDF_HEAD) && end.windows(PDF_END.len()).any(|window| window == PDF_END)
}

#[cfg(test)]
mod tests {
    use super::is_whole_pdf;

    #[test]
    fn a_pdf_is_told_by_its_bytes() {
        assert!(is_whole_pdf(b"%PDF-1.4\n...\n%%EOF\n"));
        let padded = [b"%PDF-1.7\n".as_slice(), &[b' '; 5000], b"%%EOF", &[b'\n'; 1000]].concat();
        assert!(is_whole_pdf(&padded));
        let cut = &padded[..5000];
        let far = [padded.as_slice(), &[b'\n'; 100]].concat();
        for other in [b"".as_slice(), b"%PDF-", b"<html>%%EOF", b" %PDF-1.4 %%EOF", cut, &far] {
            assert!(!is_whole_pdf(other));
        }
    }
}
