//! A file under the log that runs out of room when a test says so.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// Which writes of a node fail, and how.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Plan>);

#[derive(Debug, Default)]
struct Plan {
    /// Writes that still succeed; all, without a number.
    left: Option<u64>,
    kind: Option<io::ErrorKind>,
    refused: u64,
}

impl Faults {
    /// Lets so many more writes, growths and syncs through, and fails all that follow.
    pub fn fail_after(&self, left: u64, kind: io::ErrorKind) {
        *self.0.lock() = Plan { left: Some(left), kind: Some(kind), refused: 0 };
    }

    /// Lets everything through again.
    pub fn end(&self) {
        self.0.lock().left = None;
    }

    /// Returns how many writes failed since the faults were planned.
    pub fn refused(&self) -> u64 {
        self.0.lock().refused
    }

    /// Counts a write and fails it if it is one too many.
    pub fn write(&self) -> io::Result<()> {
        let mut plan = self.0.lock();
        match &mut plan.left {
            None => Ok(()),
            Some(0) => {
                plan.refused += 1;
                Err(plan.kind.unwrap_or(io::ErrorKind::StorageFull).into())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

/// The log's file with faults. A write that fails has written its first half.
#[derive(Debug)]
pub(crate) struct FaultyFile {
    pub file: FileBackend,
    pub faults: Arc<Faults>,
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.write()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.write()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Err(fault) = self.faults.write() {
            let half = data.get(..data.len() / 2).unwrap_or_default();
            self.file.write(offset, half)?;
            return Err(fault);
        }
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
