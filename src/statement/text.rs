//! Text files that another program wrote: which encoding a file has, and its content as UTF-8, whatever it is. Nothing is
//! replaced: bytes that are no text are an error.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use encoding_rs::{Decoder, DecoderResult, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 30;
/// Read at once, in bytes.
const CHUNK: usize = 64 * 1024;
/// Looked at to see what kind of file it is, in bytes.
const HEAD: usize = 1024;

/// How files begin that are often taken for CSV, and what they are.
const OTHER_KINDS: [(&[u8], &str); 8] = [
    (b"PK\x03\x04", "an Excel workbook (.xlsx) or another zip archive: open it and save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls): open it and save it as CSV"),
    (b"%PDF", "a PDF document: ask for the same data as CSV"),
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"<html", "a web page, perhaps of a session that had ended: download it again"),
    (b"<!doctype", "a web page, perhaps of a session that had ended: download it again"),
    (b"<?xml", "an XML document: ask for the same data as CSV"),
    (b"{\\rtf", "a Word document: ask for the same data as CSV"),
];

/// How a file writes its characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    of: &'static encoding_rs::Encoding,
    marked: bool,
}

impl Encoding {
    /// By its name on the web (`utf-8`, `windows-1252`, `iso-8859-15`).
    pub fn named(label: &str) -> Option<Self> {
        encoding_rs::Encoding::for_label_no_replacement(label.as_bytes()).map(|of| Self { of, marked: false })
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.of == WINDOWS_1252 { "Windows-1252" } else { self.of.name() };
        let mark = if self.marked { " (BOM)" } else { "" };
        write!(f, "{name}{mark}")
    }
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The system's words.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No byte, or a byte-order mark alone.
    #[error("is empty")]
    Empty,
    /// Not one file of text.
    #[error("is {0}")]
    OtherKind(&'static str),
    /// Zero bytes without a byte-order mark.
    #[error("holds zero bytes: it is no text, or UTF-16 without a byte-order mark. Save it as UTF-8")]
    Binary,
    /// More than is read.
    #[error("is larger than {MAX_FILE} bytes: split it")]
    TooLarge,
}

/// A file of text, and what is known of it before it is read.
pub struct TextFile {
    file: File,
    encoding: Encoding,
    size: u64,
}

impl TextFile {
    /// Opens `path`, `-` being standard input, and finds out its encoding unless it is given.
    pub fn open(path: &Path, given: Option<Encoding>) -> Result<Self, TextError> {
        let file = if path == Path::new("-") { spooled(io::stdin().lock())? } else { File::open(path)? };
        Self::of(file, given)
    }

    fn of(mut file: File, given: Option<Encoding>) -> Result<Self, TextError> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Self::of(spooled(file)?, given);
        }
        let size = metadata.len();
        if size > MAX_FILE {
            return Err(TextError::TooLarge);
        }
        let encoding = detect(&mut file)?;
        Ok(Self { file, encoding: given.unwrap_or(encoding), size })
    }

    /// As found, or as given.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The content from its beginning, as UTF-8 without a byte-order mark.
    pub fn reader(&mut self) -> io::Result<Utf8Reader<&File>> {
        self.file.rewind()?;
        Ok(Utf8Reader::new(&self.file, self.encoding))
    }

    /// At most so many bytes of the content's beginning. What is wrong after the first of them is told when it is read.
    pub fn head(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        match self.reader()?.take(limit).read_to_end(&mut head) {
            Err(error) if head.is_empty() => Err(error),
            Ok(_) | Err(_) => Ok(head),
        }
    }

    /// SHA-256 of the bytes, in hexadecimal: which file a result is about.
    pub fn digest(&mut self) -> io::Result<String> {
        self.file.rewind()?;
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = (&self.file).read(&mut chunk)?;
            if read == 0 {
                break;
            }
            digest.update(&chunk[..read]);
        }
        let hex = digest.finish().as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        Ok(hex)
    }
}

/// What can be read only once, in a file that can be read twice and has no name.
fn spooled(input: impl Read) -> Result<File, TextError> {
    let mut file = tempfile::tempfile()?;
    if io::copy(&mut input.take(MAX_FILE + 1), &mut file)? > MAX_FILE {
        return Err(TextError::TooLarge);
    }
    Ok(file)
}

/// A byte-order mark decides; without one it is UTF-8 if all of it is, else Windows-1252, as old Excels write it.
fn detect(file: &mut File) -> Result<Encoding, TextError> {
    let mut head = Vec::new();
    file.rewind()?;
    (&mut *file).take(HEAD as u64).read_to_end(&mut head)?;
    if let Some((of, length)) = encoding_rs::Encoding::for_bom(&head) {
        return if head.len() == length { Err(TextError::Empty) } else { Ok(Encoding { of, marked: true }) };
    }
    let start = head.trim_ascii_start();
    if start.is_empty() && head.len() < HEAD {
        return Err(TextError::Empty);
    }
    let begins = |kind: &[u8]| start.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind));
    if let Some((_, what)) = OTHER_KINDS.iter().find(|(kind, _)| begins(kind)) {
        return Err(TextError::OtherKind(what));
    }
    if head.contains(&0) {
        return Err(TextError::Binary);
    }
    file.rewind()?;
    let of = if is_utf8(file)? { UTF_8 } else { WINDOWS_1252 };
    Ok(Encoding { of, marked: false })
}

/// Whether all of it is UTF-8.
fn is_utf8(mut input: impl Read) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK];
    let mut kept = 0;
    loop {
        let read = input.read(&mut chunk[kept..])?;
        if read == 0 {
            return Ok(kept == 0);
        }
        let there = kept + read;
        match std::str::from_utf8(&chunk[..there]) {
            Ok(_) => kept = 0,
            Err(error) if error.error_len().is_some() => return Ok(false),
            // The last character goes on in the next chunk.
            Err(error) => {
                chunk.copy_within(error.valid_up_to()..there, 0);
                kept = there - error.valid_up_to();
            }
        }
    }
}

/// Reads bytes of one encoding as UTF-8.
pub struct Utf8Reader<R> {
    input: R,
    decoder: Decoder,
    raw: Vec<u8>,
    start: usize,
    end: usize,
    over: bool,
    done: bool,
    malformed: bool,
}

impl<R: Read> Utf8Reader<R> {
    /// Of `input`; a byte-order mark is left out.
    pub fn new(input: R, encoding: Encoding) -> Self {
        debug_assert!([UTF_8, UTF_16LE, UTF_16BE].contains(&encoding.of) || !encoding.marked);
        let decoder = encoding.of.new_decoder_with_bom_removal();
        Self {
            input,
            decoder,
            raw: vec![0; CHUNK],
            start: 0,
            end: 0,
            over: false,
            done: false,
            malformed: false,
        }
    }
}

impl<R: Read> Read for Utf8Reader<R> {
    /// `buffer` must have room for a character.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.done {
            if self.malformed {
                let why = "bytes that are no text in this file's encoding";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if self.start == self.end && !self.over {
                (self.start, self.end) = (0, self.input.read(&mut self.raw)?);
                self.over = self.end == 0;
            }
            let raw = &self.raw[self.start..self.end];
            let (result, read, written) =
                self.decoder.decode_to_utf8_without_replacement(raw, buffer, self.over);
            self.start += read;
            self.done = self.over && result == DecoderResult::InputEmpty;
            match result {
                // First what came before, so that the line is known.
                DecoderResult::Malformed(..) => {
                    self.malformed = true;
                    if written > 0 {
                        return Ok(written);
                    }
                }
                DecoderResult::OutputFull if written == 0 => {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "the buffer is too small"));
                }
                DecoderResult::InputEmpty | DecoderResult::OutputFull if written > 0 => return Ok(written),
                DecoderResult::InputEmpty | DecoderResult::OutputFull => {}
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn utf16(text: &str, unit: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(unit).collect()
    }

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "référence;montant\nA-1;1\u{202f}000 €\n";
        let windows = WINDOWS_1252.encode("référence;montant\nA-1;1\u{a0}000 €\n").0.into_owned();
        for (bytes, name) in [
            (text.as_bytes().to_vec(), "UTF-8"),
            ([b"\xef\xbb\xbf", text.as_bytes()].concat(), "UTF-8 (BOM)"),
            (utf16(text, u16::to_le_bytes), "UTF-16LE (BOM)"),
            (utf16(text, u16::to_be_bytes), "UTF-16BE (BOM)"),
            (windows, "Windows-1252"),
        ] {
            let mut opened = TextFile::of(file(&bytes), None).unwrap();
            assert_eq!(opened.encoding().to_string(), name);
            for _ in 0..2 {
                let mut read = String::new();
                opened.reader().unwrap().read_to_string(&mut read).unwrap();
                assert_eq!(read.replace('\u{a0}', "\u{202f}"), text, "{name}");
            }
        }
    }

    /// The only accent stands behind the first chunk, and one lies across two chunks.
    #[test]
    fn the_whole_file_decides() {
        let long = "x".repeat(CHUNK - 1);
        let across = TextFile::of(file(format!("{long}é").as_bytes()), None).unwrap();
        assert_eq!(across.encoding().to_string(), "UTF-8");
        let late = [long.as_bytes(), b"xx\xe9"].concat();
        assert_eq!(TextFile::of(file(&late), None).unwrap().encoding().to_string(), "Windows-1252");
        let cut = [long.as_bytes(), b"\xc3"].concat();
        assert_eq!(TextFile::of(file(&cut), None).unwrap().encoding().to_string(), "Windows-1252");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for (bytes, words) in [
            (&b""[..], "is empty"),
            (b"  \r\n", "is empty"),
            (b"\xef\xbb\xbf", "is empty"),
            (b"PK\x03\x04rest", "Excel workbook"),
            (b"\xd0\xcf\x11\xe0rest", "old Excel"),
            (b"\n<!DOCTYPE html>", "web page"),
            (b"r\0e\0f\0", "zero bytes"),
        ] {
            let error = TextFile::of(file(bytes), None).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn bad_bytes_are_an_error_and_not_replaced() {
        let mut marked = TextFile::of(file(b"\xef\xbb\xbfabc\xe9;"), None).unwrap();
        let error = marked.reader().unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut odd = TextFile::of(file(b"\xff\xfea\0b"), None).unwrap();
        assert!(odd.reader().unwrap().read_to_end(&mut Vec::new()).is_err());
    }
}
