//! A store that another process may be writing to, read as far as it is written: no lock is taken, and nothing is written.

use std::io;
use std::path::Path;
use std::sync::{Arc, RwLock};

use super::{SpanReader, Unavailable, read, readable, reader};
use crate::store::codec::{Location, SpanHeader};
use crate::store::disk::Directory;
use crate::store::index::{ReadError, RecordIndex};
use crate::store::ledger::Ledger;
use crate::store::open::LogContents;

impl SpanReader {
    /// Reads what is written in the store in `dir` by now. What comes later is not seen; what goes later can still be read.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] or [`io::ErrorKind::NotADirectory`] where there is no log; otherwise the disk's own.
    pub(crate) fn open_read_only(dir: &Path) -> io::Result<Self> {
        let index = Arc::new(RwLock::new(RecordIndex::new(Ledger::new(None))));
        LogContents::read(&Directory::new(dir), &index, |_, _| {})?;
        Ok(SpanReader { index })
    }

    /// The numbers of all spans that are there, the smallest first.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        read(&self.index).spans().keys().copied().collect()
    }

    /// Whether the span of this number is a call's whose run is not closed.
    ///
    /// # Errors
    /// The disk gives nothing now.
    pub(crate) fn is_in_open_run(&self, seq: u64) -> Result<bool, Unavailable> {
        let finished = readable(self.is_exchange_finished(seq))?;
        Ok(finished == Some(false))
    }

    /// A span of no exchange counts as finished.
    fn is_exchange_finished(&self, seq: u64) -> Result<bool, ReadError> {
        let entry = read(&self.index).spans().get(&seq).copied();
        let Some(entry) = entry else { return Ok(true) };
        let Location(segment, offset) = entry.at;
        let bytes = reader(&self.index, segment)?.read(offset, false)?;
        let header: SpanHeader<'_> = bytes.record()?.header()?;
        let Some((Location(segment, offset), _)) = header.exchange else {
            return Ok(true);
        };
        let bytes = reader(&self.index, segment)?.read(offset, false)?;
        let number = bytes.record()?.number;
        Ok(read(&self.index).ledger.finished.contains(number))
    }
}

#[cfg(test)]
mod tests;
