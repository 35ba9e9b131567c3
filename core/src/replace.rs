//! Replacing a file in one step.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file so that whoever reads it finds the old content or the new, whole, also after a loss of power. It has
/// the permission bits `mode`, less those that the process's umask takes away, from the moment that it is there.
///
/// Until then the new content is beside it, as `.NAME.new`: two writers of the same file at the same time aren't
/// provided for.
pub fn file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let mut fresh = OsString::from(".");
    fresh.push(name);
    fresh.push(".new");
    let fresh = path.with_file_name(fresh);
    // Left over from a crash; removed so that the mode below is that of a new file.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        file(&path, b"longer than the next", 0o600).unwrap();
        std::fs::write(folder.path().join(".key.new"), b"left by a crash").unwrap();
        file(&path, b"next", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"next");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn new_file_has_the_mode_asked_for_whatever_the_old_one_or_a_leftover_had() {
        let folder = tempfile::tempdir().unwrap();
        let (path, leftover) = (folder.path().join("key"), folder.path().join(".key.new"));
        for open in [&path, &leftover] {
            std::fs::write(open, b"open").unwrap();
            std::fs::set_permissions(open, PermissionsExt::from_mode(0o666)).unwrap();
        }
        file(&path, b"secret", 0o600).unwrap();
        assert_eq!(mode_of(&path), 0o600);
        file(&path, b"read only", 0o400).unwrap();
        assert_eq!(mode_of(&path), 0o400);
    }

    #[test]
    fn link_at_its_place_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("key"), folder.path().join("other"));
        std::fs::write(&other, b"untouched").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join(".key.new")).unwrap();
        file(&path, b"next", 0o600).unwrap();
        assert!(path.symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read(&other).unwrap(), b"untouched");
    }

    #[test]
    fn what_has_no_name_or_no_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(file(Path::new("/"), b"", 0o600).unwrap_err().kind(), ErrorKind::InvalidInput);
        let nowhere = folder.path().join("none/key");
        assert_eq!(file(&nowhere, b"", 0o600).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
