//! The few things that the channel does with files. Every write, sync, rename and removal goes through
//! here, so that tests can make each of them fail, or be the last.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

#[cfg(test)]
pub mod faults;

/// A file that is read and written at places.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    path: PathBuf,
}

/// What a disk reads at once, where it fails.
const PAGE: usize = 4096;

impl File {
    /// Makes a new file; what stands there of this name is replaced.
    pub fn create(path: &Path) -> io::Result<File> {
        #[cfg(test)]
        faults::before(faults::Step::Create)?;
        let mut options = fs::File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(File { file, path: path.to_owned() })
    }

    /// Opens a file that is there.
    pub fn open(path: &Path) -> io::Result<File> {
        let file = fs::File::options().read(true).write(true).open(path)?;
        Ok(File { file, path: path.to_owned() })
    }

    /// Where it was made or opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes it has.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Makes it this long, with room on the disk where the file system can do that.
    pub fn preallocate(&self, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        faults::before(faults::Step::Create)?;
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(bytes),
            done => Ok(done?),
        }
    }

    /// Writes all of these bytes.
    pub fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        let bytes = match faults::write(&self.file, bytes, at)? {
            faults::Written::Whole => bytes,
            faults::Written::Torn(length, error) => {
                self.file.write_all_at(&bytes[..length], at)?;
                return Err(error);
            }
        };
        self.file.write_all_at(bytes, at)
    }

    /// Reads so many bytes, or as many as there are.
    pub fn read(&self, at: u64, length: usize) -> io::Result<Bytes> {
        #[cfg(test)]
        faults::read(length)?;
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            match self.file.read_at(&mut bytes[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(done);
        Ok(bytes.into())
    }

    /// Reads what can be read; what cannot is zeros.
    pub fn read_what_can_be(&self, at: u64, length: usize) -> Bytes {
        if let Ok(bytes) = self.read(at, length) {
            return bytes;
        }
        let mut bytes = vec![0; length];
        for (page, part) in bytes.chunks_mut(PAGE).enumerate() {
            if let Ok(read) = self.read(at + (page * PAGE) as u64, part.len()) {
                part[..read.len()].copy_from_slice(&read);
            }
        }
        bytes.into()
    }

    /// The first place from here on that may not be zeros. None where the rest surely is.
    pub fn next_written(&self, at: u64) -> Option<u64> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(next) => Some(next),
            Err(Errno::NXIO) => None,
            Err(_) => Some(at),
        }
    }

    /// Waits until what was written stands on the disk.
    pub fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        faults::sync(&self.file)?;
        self.file.sync_data()
    }

    /// Likewise, with the file's length and place.
    pub fn sync_whole(&self) -> io::Result<()> {
        #[cfg(test)]
        faults::sync(&self.file)?;
        self.file.sync_all()
    }
}

/// Gives a file another name; what had it is replaced.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::rename(from, to)?;
    fs::rename(from, to)
}

/// Removes a file.
pub fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::remove(path)?;
    fs::remove_file(path)
}

/// Waits until the names in a folder stand on the disk.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::sync_folder(path)?;
    fs::File::open(path)?.sync_all()
}

/// Makes a folder, and those above it, on the disk.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => {
            make_folder(above)?;
            fs::create_dir(path)?;
            fs::File::open(above)?.sync_all()
        }
        _ => fs::create_dir(path),
    }
}

/// How many bytes the disk below a folder has left for us.
pub fn free(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Writes a whole file under another name, and then gives it its own: it is there wholly or not at all. The
/// folder is for the caller to sync.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let new = new_name(path);
    let file = File::create(&new)?;
    file.write(bytes, 0)?;
    file.sync_whole()?;
    rename(&new, path)?;
    Ok(File { file: file.file, path: path.to_owned() })
}

/// The name of a file that is being made.
pub fn new_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(NEW);
    name.into()
}

/// What the name of a file that is being made ends in.
pub const NEW: &str = ".new";
