//! Owns the way to tracefs: the one that is mounted, or a private one that nobody else sees.
//!
//! A private one is a detached mount (`fsopen`, `fsmount`): it hangs nowhere in the file system, is
//! reached through its descriptor, and is gone when that is closed, also when the process dies.
//!
//! **Invariant:** nothing is ever written to it.

use super::format::Format;
use nix::libc;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where it is usually mounted.
const MOUNTED: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// Bytes of a file that are read at most; the longest format is that of a system call with flags,
/// far below.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Which tracefs is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was mounted there already.
    Mounted(PathBuf),
    /// Mounted for this process, visible nowhere.
    Private,
}

/// An open tracefs.
#[derive(Debug)]
pub struct Tracefs {
    root: PathBuf,
    origin: Origin,
    /// Keeps a private mount alive.
    _mount: Option<OwnedFd>,
}

impl Tracefs {
    /// Finds the mounted one, or mounts a private one.
    ///
    /// # Errors
    /// When none is mounted and mounting is refused, for example without `CAP_SYS_ADMIN`.
    pub fn open() -> io::Result<Self> {
        let mounted = MOUNTED.map(Path::new).into_iter().find(|path| path.join("events").is_dir());
        match mounted {
            Some(path) => Ok(Self {
                root: path.to_owned(),
                origin: Origin::Mounted(path.to_owned()),
                _mount: None,
            }),
            None => Self::private(),
        }
    }

    /// Mounts one for this process alone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn private() -> io::Result<Self> {
        let mount = mount_detached()?;
        let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        if !root.join("events").is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        Ok(Self { root, origin: Origin::Private, _mount: Some(mount) })
    }

    /// Which one it is.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The number and the format of a tracepoint, given as category and event.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when this kernel has no such tracepoint.
    pub fn describe(&self, category: &str, event: &str) -> io::Result<(u64, Format)> {
        let directory = self.root.join("events").join(category).join(event);
        let number = read(&directory.join("id"))?;
        let number = number.trim().parse().map_err(io::Error::other)?;
        Ok((number, Format::parse(&read(&directory.join("format"))?)))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `FSCONFIG_CMD_CREATE` of `linux/mount.h`.
const FSCONFIG_CMD_CREATE: libc::c_long = 6;
/// `FSOPEN_CLOEXEC` and `FSMOUNT_CLOEXEC`, which are the same.
const CLOEXEC: libc::c_long = 1;
/// `MOUNT_ATTR_RDONLY`, `NOSUID`, `NODEV` and `NOEXEC`.
const ATTRIBUTES: libc::c_long = 0x1 | 0x2 | 0x4 | 0x8;

/// Linux 5.2 and later.
fn mount_detached() -> io::Result<OwnedFd> {
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: the name is a string that ends in zero.
    let context =
        descriptor(unsafe { libc::syscall(libc::SYS_fsopen, c"tracefs".as_ptr(), CLOEXEC) })?;
    // SAFETY: the command takes neither key nor value.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            libc::c_long::from(context.as_raw_fd()),
            FSCONFIG_CMD_CREATE,
            null,
            null,
            0 as libc::c_long,
        )
    };
    if created < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call takes numbers only.
    descriptor(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            libc::c_long::from(context.as_raw_fd()),
            CLOEXEC,
            ATTRIBUTES,
        )
    })
}

/// The descriptor that a system call returned.
pub(super) fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the call made this descriptor, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_a_private_tracefs_is_seen_by_nobody() {
        if !edgelore_testkit::live("live_a_private_tracefs_is_seen_by_nobody") {
            return;
        }
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let tracefs = Tracefs::private().unwrap();
        let root = tracefs.root.clone();
        let (number, format) = tracefs.describe("skb", "kfree_skb").unwrap();
        assert!(number > 0 && format.offset("skbaddr", 8).is_ok());
        let mine = |line: &str| line.contains(&root.display().to_string());
        assert!(!mounts().lines().any(mine), "a detached mount stands in no list");
        let missing = tracefs.describe("skb", "el_none").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        drop(tracefs);
        assert!(!root.join("events").exists());
    }
}
