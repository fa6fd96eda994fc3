//! Records of a CSV file, one at a time, into buffers of a fixed size: however a file is broken, it is refused with the
//! line, and takes no more memory than a good one.

use std::io::{self, Read};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// Longest record, in bytes of UTF-8.
pub const MAX_RECORD: usize = 64 * 1024;
/// Most fields of a record.
pub const MAX_FIELDS: usize = 256;
/// Read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// A file that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system's words, or bytes of another encoding.
    #[error("line {line}: {error}")]
    Io {
        /// Where it was read to.
        line: u64,
        /// What the system said.
        error: io::Error,
    },
    /// A record beyond the limit.
    #[error(
        "line {line}: the record that begins here is longer than {MAX_RECORD} bytes; is a quote (\") left open in it?"
    )]
    TooLong {
        /// Where the record begins.
        line: u64,
    },
    /// Too many fields.
    #[error("line {line}: more than {MAX_FIELDS} columns; is this the right separator?")]
    TooManyFields {
        /// Where the record begins.
        line: u64,
    },
    /// The file ends within quotes.
    #[error("line {line}: a quote (\") is opened in the record that begins here and never closed")]
    OpenQuote {
        /// Where the record begins.
        line: u64,
    },
    /// A zero byte.
    #[error("line {line}: holds a zero byte: it is no text")]
    ZeroByte {
        /// Where the record begins.
        line: u64,
    },
}

/// Reads records.
pub struct Records<R> {
    input: R,
    core: Reader,
    chunk: Vec<u8>,
    at: usize,
    end: usize,
    output: Vec<u8>,
    ends: Vec<usize>,
    lines: Lines,
}

/// One record. Blank lines are none.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The line on which it begins, from 1.
    pub line: u64,
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    /// The field at this place, from 0, as it was written; empty where there is none.
    pub fn get(&self, place: usize) -> &'a str {
        let start =
            place.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or(usize::MAX));
        self.ends.get(place).and_then(|end| self.text.get(start..*end)).unwrap_or_default()
    }

    /// How many fields.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Always false: a blank line is no record.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All fields.
    pub fn fields(&self) -> impl Iterator<Item = &'a str> + '_ {
        (0..self.ends.len()).map(|place| self.get(place))
    }
}

/// Counts lines, whether they end with LF, CR LF or CR.
struct Lines {
    line: u64,
    after_return: bool,
}

impl Lines {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\r' || *byte == b'\n' && !self.after_return {
                self.line += 1;
            }
            self.after_return = *byte == b'\r';
        }
    }
}

impl<R: Read> Records<R> {
    /// Of `input`, which is UTF-8.
    pub fn new(input: R, separator: u8) -> Self {
        Self {
            input,
            core: ReaderBuilder::new().delimiter(separator).build(),
            chunk: vec![0; CHUNK],
            at: 0,
            end: 0,
            output: vec![0; MAX_RECORD],
            ends: vec![0; MAX_FIELDS],
            lines: Lines { line: 1, after_return: false },
        }
    }

    /// The next one; `None` at the end.
    pub fn read(&mut self) -> Result<Option<Record<'_>>, RecordError> {
        if !self.skip_blank_lines()? {
            return Ok(None);
        }
        let line = self.lines.line;
        let (mut length, mut fields) = (0, 0);
        loop {
            let over = self.at == self.end && !self.fill()?;
            // At the end of the file, a line's end shows whether a quote is still open.
            let input = if over { &b"\n"[..] } else { &self.chunk[self.at..self.end] };
            let (result, read, wrote, ended) =
                self.core.read_record(input, &mut self.output[length..], &mut self.ends[fields..]);
            if !over {
                self.lines.pass(&self.chunk[self.at..self.at + read]);
                self.at += read;
            }
            length += wrote;
            fields += ended;
            match result {
                ReadRecordResult::Record => break,
                ReadRecordResult::InputEmpty if over => return Err(RecordError::OpenQuote { line }),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => return Err(RecordError::TooLong { line }),
                ReadRecordResult::OutputEndsFull => return Err(RecordError::TooManyFields { line }),
                ReadRecordResult::End => return Ok(None),
            }
        }
        let bytes = &self.output[..length];
        if bytes.contains(&0) {
            return Err(RecordError::ZeroByte { line });
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(Record { line, text, ends: &self.ends[..fields] })),
            Err(error) => {
                Err(RecordError::Io { line, error: io::Error::new(io::ErrorKind::InvalidData, error) })
            }
        }
    }

    /// Whether anything follows.
    fn skip_blank_lines(&mut self) -> Result<bool, RecordError> {
        loop {
            let blank =
                self.chunk[self.at..self.end].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            self.lines.pass(&self.chunk[self.at..self.at + blank]);
            self.at += blank;
            if self.at < self.end {
                return Ok(true);
            }
            if !self.fill()? {
                return Ok(false);
            }
        }
    }

    fn fill(&mut self) -> Result<bool, RecordError> {
        let line = self.lines.line;
        let read = loop {
            match self.input.read(&mut self.chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(RecordError::Io { line, error }),
                Ok(read) => break read,
            }
        };
        (self.at, self.end) = (0, read);
        Ok(read > 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// All records with their lines, read in pieces of `piece` bytes.
    fn read(text: &[u8], piece: usize) -> Result<Vec<(u64, Vec<String>)>, RecordError> {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = self.1.min(buffer.len()).min(self.0.len());
                self.0.read(&mut buffer[..length])
            }
        }
        let mut records = Records::new(Pieces(text, piece), b';');
        let mut all = Vec::new();
        while let Some(record) = records.read()? {
            all.push((record.line, record.fields().map(str::to_owned).collect()));
        }
        Ok(all)
    }

    #[test]
    fn records_know_their_lines() {
        for text in
            ["a;b\n\n\"x\ny\";\"q\"\"q\"\n;\nlast;", "a;b\r\n\r\n\"x\ny\";\"q\"\"q\"\r\n;\r\nlast;\r\n\r\n"]
        {
            for piece in [1, 3, 1000] {
                let all = read(text.as_bytes(), piece).unwrap();
                let lines: Vec<u64> = all.iter().map(|record| record.0).collect();
                assert_eq!(lines, [1, 3, 5, 6], "{piece}");
                assert_eq!(all[1].1, ["x\ny", "q\"q"]);
                assert_eq!(all[2].1, ["", ""]);
                assert_eq!(all[3].1, ["last", ""]);
            }
        }
        assert_eq!(read(b"a\rb\rc", 1).unwrap().iter().map(|record| record.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(read(b"\n\r\n", 1).unwrap().is_empty());
    }

    #[test]
    fn broken_files_are_refused_with_the_line() {
        let said = |text: &[u8]| read(text, 4096).unwrap_err().to_string();
        assert!(said(b"a;b\n1;\"2\n3;4\n").starts_with("line 2: a quote"));
        let long = [b"a\n".to_vec(), vec![b'x'; MAX_RECORD + 1]].concat();
        assert!(said(&long).starts_with("line 2: the record that begins here is longer than 65536 bytes"));
        let open = [b"a\n\"".to_vec(), b"1;2\n".repeat(MAX_RECORD)].concat();
        assert!(said(&open).starts_with("line 2: the record that begins here is longer"));
        assert!(said(&b";".repeat(MAX_FIELDS)).starts_with("line 1: more than 256 columns"));
        assert!(said(b"a\nb\0").starts_with("line 2: holds a zero byte"));
        assert!(read(b"a;\"b\"", 1).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b';'), Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200), piece in 1_usize..20) {
            let whole = read(&bytes, 1000).map_err(|error| error.to_string());
            let pieces = read(&bytes, piece).map_err(|error| error.to_string());
            prop_assert_eq!(whole, pieces);
        }
    }
}
