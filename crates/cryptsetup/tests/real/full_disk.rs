use std::path::{Path, PathBuf};

use strongroom_cryptsetup::{CryptsetupError, Overwrite, Target};
use strongroom_types::EncryptionFormat;

use crate::place::{Place, call, cryptsetup, fresh, is_root, key, room, tool};

/// A small file system, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let words: [&Path; 6] = [
            "-t".as_ref(),
            "tmpfs".as_ref(),
            "-o".as_ref(),
            "size=3m".as_ref(),
            "none".as_ref(),
            &path,
        ];
        let done = tool("mount", "mount", &words);
        assert_eq!(
            done.code,
            0,
            "root needs to be allowed to mount for this test: {}",
            done.message()
        );
        Self(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        tool("umount", "mount", &[&self.0]);
    }
}

#[test]
fn a_full_disk_in_the_middle_of_a_format_or_backup_costs_nothing_but_time() {
    if !is_root() {
        assert_ne!(rustix::process::geteuid().as_raw(), 0);
        println!("not run: only root can mount a small file system to fill");
        return;
    }
    let place = Place::new();
    let small = Mounted::at(place.path("small"));
    let path = small.0.join("volume");
    std::fs::File::create_new(&path)
        .unwrap()
        .set_len(room(EncryptionFormat::Luks1))
        .unwrap();
    std::fs::write(small.0.join("filler"), vec![1; 2 << 20]).unwrap();
    let (tool, mine) = (cryptsetup(), key());
    let target = Target::new(EncryptionFormat::Luks1, &path).unwrap();
    let how = fresh();

    let full = tool.format(&call(), &target, &how, &mine, Overwrite::Nothing);
    assert!(
        matches!(
            full,
            Err(CryptsetupError::BadParameters {
                action: "luksFormat",
                ..
            })
        ),
        "{full:?}"
    );
    std::fs::remove_file(small.0.join("filler")).unwrap();
    tool.format(&call(), &target, &how, &mine, Overwrite::OurUnfinished)
        .unwrap();

    let to = small.0.join("backup");
    let full = tool.back_up_header(&call(), &target, &to);
    assert!(
        matches!(
            full,
            Err(CryptsetupError::BadParameters {
                action: "luksHeaderBackup",
                ..
            })
        ),
        "{full:?}"
    );
    assert!(!to.exists());
    tool.test_passphrase(&call(), &target, &mine).unwrap();
    tool.back_up_header(&call(), &target, place.path("backup"))
        .unwrap();
}
