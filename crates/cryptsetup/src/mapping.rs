use std::fs::File;
use std::path::{Path, PathBuf};

use strongroom_exec::Completed;
use strongroom_secret::SecretFile;
use strongroom_types::{Call, GuestSize};

use crate::disk::{Disk, Sharing};
use crate::{Cryptsetup, CryptsetupError, MappingName, MappingStatus, OpenOptions, Target, command, status};

/// The node through which device-mapper is spoken to.
const CONTROL: &str = "/dev/mapper/control";
/// The kernel's list of drivers like this one.
const DRIVERS: &str = "/proc/misc";

/// A node alone says nothing: cryptsetup run as root makes one where there is none, driver or not. To open it
/// has the kernel load the driver where that is a module.
fn require_device_mapper(control: &Path, drivers: &Path) -> Result<(), CryptsetupError> {
    let there = match File::open(control) {
        Ok(_) => true,
        Err(_) => std::fs::read_to_string(drivers)
            .is_ok_and(|list| list.lines().any(|line| line.ends_with(" device-mapper"))),
    };
    if there {
        return Ok(());
    }
    Err(CryptsetupError::NoDeviceMapper {
        control: control.to_owned(),
    })
}

fn here() -> Result<(), CryptsetupError> {
    require_device_mapper(Path::new(CONTROL), Path::new(DRIVERS))
}

impl Cryptsetup {
    /// Opens a volume as a mapping, and says where its content is. Needs device-mapper.
    ///
    /// Only the passphrase opens it, never a token of a LUKS2 header.
    ///
    /// # Errors
    /// [`CryptsetupError::NoDeviceMapper`]; [`CryptsetupError::Busy`] when the name is taken or the device is
    /// in use; as [`Cryptsetup::test_passphrase`].
    pub fn open(
        &self,
        call: &Call,
        target: &Target,
        key: &SecretFile,
        name: &MappingName,
        options: OpenOptions,
    ) -> Result<PathBuf, CryptsetupError> {
        here()?;
        self.header_that_opens(call, target)?;
        Disk::open(target.device(), Sharing::Anybody)?;
        let spec = command::open(self.program(), target, key, name, options);
        self.run(call, "open", target.device(), &spec)?;
        Ok(name.path())
    }

    /// Closes a mapping. One that is not there is closed already, which is no error. Needs device-mapper.
    ///
    /// # Errors
    /// [`CryptsetupError::NoDeviceMapper`]; [`CryptsetupError::Busy`] when somebody uses it;
    /// [`CryptsetupError::Run`].
    pub fn close(&self, call: &Call, name: &MappingName) -> Result<(), CryptsetupError> {
        here()?;
        let path = name.path();
        match self.run(call, "close", &path, &command::close(self.program(), name)) {
            Ok(_) => Ok(()),
            // Also what cryptsetup says when it cannot speak to device-mapper: `status` tells the two apart.
            Err(CryptsetupError::DeviceMissing { .. }) => gone(path, self.status(call, name)),
            Err(e) => Err(e),
        }
    }

    /// What a mapping is. Needs device-mapper.
    ///
    /// # Errors
    /// [`CryptsetupError::NoDeviceMapper`]; [`CryptsetupError::Output`] when cryptsetup prints what cannot be
    /// read; [`CryptsetupError::Run`].
    pub fn status(&self, call: &Call, name: &MappingName) -> Result<MappingStatus, CryptsetupError> {
        here()?;
        let path = name.path();
        found(
            &path,
            self.run(call, "status", &path, &command::status(self.program(), name)),
        )
    }

    /// Fits a mapping to its device, which grew, or to the size that a guest is to see; says what the guest
    /// sees now. Needs device-mapper.
    ///
    /// A LUKS2 volume whose key lies in the kernel's keyring asks for the passphrase again.
    ///
    /// # Errors
    /// [`CryptsetupError::NoDeviceMapper`]; [`CryptsetupError::DeviceMissing`] when it is not open;
    /// [`CryptsetupError::WrongPassphrase`], also for a missing one; [`CryptsetupError::Unproven`] when it
    /// has another size afterwards; [`CryptsetupError::BadParameters`] when the device is smaller than that.
    pub fn resize(
        &self,
        call: &Call,
        name: &MappingName,
        size: Option<GuestSize>,
        key: Option<&SecretFile>,
    ) -> Result<GuestSize, CryptsetupError> {
        here()?;
        let path = name.path();
        self.run(
            call,
            "resize",
            &path,
            &command::resize(self.program(), name, size, key),
        )?;
        match self.status(call, name)? {
            MappingStatus::Inactive => Err(CryptsetupError::DeviceMissing { path }),
            MappingStatus::Active(mapping) if size.is_some_and(|asked| asked != mapping.size) => {
                Err(CryptsetupError::Unproven {
                    action: "resize",
                    path,
                    finding: "it has another size",
                })
            }
            MappingStatus::Active(mapping) => Ok(mapping.size),
        }
    }
}

fn gone(path: PathBuf, status: Result<MappingStatus, CryptsetupError>) -> Result<(), CryptsetupError> {
    match status? {
        MappingStatus::Inactive => Ok(()),
        MappingStatus::Active(_) => Err(CryptsetupError::Unproven {
            action: "close",
            path,
            finding: "it is still open",
        }),
    }
}

fn found(path: &Path, outcome: Result<Completed, CryptsetupError>) -> Result<MappingStatus, CryptsetupError> {
    match outcome {
        Err(CryptsetupError::DeviceMissing { .. }) => Ok(MappingStatus::Inactive),
        Err(e) => Err(e),
        Ok(done) => status::active(&done.stdout)
            .map(MappingStatus::Active)
            .ok_or(CryptsetupError::Output {
                action: "status",
                path: path.to_owned(),
                wanted: "status of a mapping",
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::outcome;

    fn exit(code: i32, stdout: &str) -> Result<Completed, CryptsetupError> {
        outcome(
            "close",
            Path::new("/dev/mapper/vol"),
            Completed::new(code, stdout, "said why"),
        )
    }

    #[test]
    fn closing_what_is_closed_is_no_error_and_failing_to_find_out_is_one() {
        let path = || PathBuf::from("/dev/mapper/vol");
        gone(path(), found(&path(), exit(4, "/dev/mapper/vol is inactive.\n"))).unwrap();
        let mute = gone(path(), found(&path(), exit(1, "")));
        assert!(
            matches!(mute, Err(CryptsetupError::BadParameters { .. })),
            "{mute:?}"
        );
        let open = "/dev/mapper/vol is active.\n  type: LUKS1\n  cipher: aes-xts-plain64\n  size: 8 sectors\n  mode: read/write\n";
        let still = gone(path(), found(&path(), exit(0, open)));
        assert!(
            matches!(still, Err(CryptsetupError::Unproven { .. })),
            "{still:?}"
        );
    }

    #[test]
    fn an_unknown_mapping_is_inactive_and_garbage_is_an_error() {
        let path = Path::new("/dev/mapper/vol");
        let inactive = exit(4, "/dev/mapper/vol is inactive.\n");
        assert_eq!(found(path, inactive).unwrap(), MappingStatus::Inactive);
        assert!(matches!(
            found(path, exit(0, "hello\n")),
            Err(CryptsetupError::Output { .. })
        ));
        assert!(matches!(
            found(path, exit(1, "")),
            Err(CryptsetupError::BadParameters { .. })
        ));
    }

    #[test]
    fn a_missing_device_mapper_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (control, drivers) = (directory.path().join("control"), directory.path().join("misc"));
        let error = require_device_mapper(&control, &drivers).unwrap_err();
        assert!(error.to_string().contains("dm_mod"), "{error}");
        std::fs::write(&drivers, "237 loop-control\n").unwrap();
        require_device_mapper(&control, &drivers).unwrap_err();
        std::fs::write(&drivers, "237 loop-control\n236 device-mapper\n").unwrap();
        require_device_mapper(&control, &drivers).unwrap();
        std::fs::remove_file(&drivers).unwrap();
        std::fs::write(&control, "").unwrap();
        require_device_mapper(&control, &drivers).unwrap();
    }
}
