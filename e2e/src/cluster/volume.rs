//! A file system of its own in a file, for disks that are full or that hang. Only root may mount one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// A mounted file system, unmounted with the value.
#[derive(Debug)]
pub struct SmallVolume {
    folder: tempfile::TempDir,
}

impl SmallVolume {
    /// Of so many megabytes; `None` where none can be mounted.
    pub fn mount(megabytes: u64) -> anyhow::Result<Option<Self>> {
        let volume = Self { folder: tempfile::tempdir()? };
        let image = volume.folder.path().join("image");
        std::fs::File::create(&image)?.set_len(megabytes << 20)?;
        std::fs::create_dir(volume.path())?;
        let made = run("mkfs.ext4", &["-q".as_ref(), "-m".as_ref(), "0".as_ref(), image.as_ref()]);
        let mounted = made.and_then(|()| {
            run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), volume.path().as_ref()])
        });
        Ok(mounted.is_ok().then_some(volume))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    /// Every write and every sync waits until [`Self::thaw`], as on a disk that hangs. A process that waits for it cannot
    /// be killed meanwhile.
    pub fn freeze(&self) -> anyhow::Result<()> {
        run("fsfreeze", &["--freeze".as_ref(), self.path().as_ref()])
    }

    /// They go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        run("fsfreeze", &["--unfreeze".as_ref(), self.path().as_ref()])
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        // It was not frozen, or not mounted: then there is nothing to undo.
        let _ = self.thaw();
        let _ = run("umount", &["-l".as_ref(), self.path().as_ref()]);
    }
}

fn run(program: &str, arguments: &[&Path]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stopwatch::Stopwatch;

    #[tokio::test]
    async fn writes_to_a_frozen_volume_wait_until_it_thaws() {
        let Some(volume) = SmallVolume::mount(32).unwrap() else {
            println!("SKIPPED: no file system can be mounted here (that needs root); nothing was shown");
            return;
        };
        let path = volume.path().join("file");
        std::fs::write(&path, "before").unwrap();
        volume.freeze().unwrap();
        let clock = Stopwatch::start();
        let writer =
            tokio::task::spawn_blocking(move || std::fs::write(path, "after").map(|()| clock.elapsed()));
        tokio::time::sleep(Duration::from_millis(200)).await;
        volume.thaw().unwrap();
        assert!(writer.await.unwrap().unwrap() >= Duration::from_millis(150));
    }
}
