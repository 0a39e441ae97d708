//! A directory of its own for one test, below Cargo's target directory; removed with the value.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("peers-{}-{number}", process::id()));
        fs::create_dir_all(&path).expect("a directory under target");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A browser that is being killed may still write into it; what it leaves then stays below target.
        let _ = fs::remove_dir_all(&self.0);
    }
}
