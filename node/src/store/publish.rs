//! How a small file appears: temporary file → sync → rename → sync directory. After a crash the name stands for the old
//! content or for the new one, never for a part.

use std::io;

use crate::seam::disk::Dir;

/// What temporary files end in. One that is found at start was never published and may be removed.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// Publishes `bytes` under `name`. The directory belongs to one process (see [`super::lock`]), so the temporary name
/// needs no random part.
pub fn publish(dir: &dyn Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}{TEMPORARY_SUFFIX}");
    let file = match dir.create(&temporary) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            dir.remove(&temporary)?;
            dir.create(&temporary)?
        }
        other => other?,
    };
    file.write_at(bytes, 0)?;
    file.sync()?;
    dir.rename(&temporary, name)?;
    dir.sync()
}

/// Reads a whole file of at most `bytes_max` bytes; `None` if there is none.
pub fn read_whole(dir: &dyn Dir, name: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match dir.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name} is {length} bytes long")));
    }
    let mut bytes = vec![0; length];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(Some(bytes))
}
