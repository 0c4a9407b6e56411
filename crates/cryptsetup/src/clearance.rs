use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use strongroom_exec::{CommandSpec, Program};
use strongroom_secret::SecretFile;
use strongroom_types::{Call, DeviceSize, EncryptionFormat, Geometry, GeometryError, PayloadOffset};
use uuid::Uuid;

use crate::content::Content;
use crate::disk::{Disk, Sharing};
use crate::inspection::{Inspection, Looking, first_data, look_at};
use crate::luks2_area::header_bytes;
use crate::luks2_copy::{Found, counting};
use crate::{CryptsetupError, Format, Target, command};

/// What a format may go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overwrite {
    /// Nothing: the device must be blank.
    #[default]
    Nothing,
    /// Besides a blank device, what an interrupted format of the very same UUID left behind.
    ///
    /// That is a LUKS header with exactly this UUID, or no header yet: the first 4096 bytes zero, no
    /// signature known, and what is not zero lies where the header's keyslots would. In both cases everything
    /// behind the header must be zero, as far as the [`Look`](crate::Look) goes, so that a volume that has been used is
    /// refused, even when it is one's own.
    OurUnfinished,
}

/// A target that was found fit to be formatted.
#[derive(Debug)]
pub struct Cleared<'t> {
    format: &'t Format,
    target: &'t Target,
    size: DeviceSize,
    header_file: Option<u64>,
}

impl Format {
    /// Finds out whether the target may be formatted, without writing anything.
    ///
    /// # Errors
    /// As [`Cryptsetup::format`](crate::Cryptsetup::format) before it writes.
    pub fn clear<'t>(
        &'t self,
        call: &Call,
        target: &'t Target,
        overwrite: Overwrite,
    ) -> Result<Cleared<'t>, CryptsetupError> {
        self.check(target)?;
        let how = Looking {
            call,
            look: self.look,
        };
        let need = header_bytes(target.format(), self.area);
        let disk = Disk::open(target.device(), Sharing::Nobody)?;
        let size = disk.device_size()?;
        let sector = u64::from(self.sector_size.unwrap_or_default().get());
        if size.get() % sector != 0 {
            return Err(CryptsetupError::SectorSize {
                path: disk.path().to_owned(),
                size: size.get(),
                sector,
            });
        }
        let before = if target.detached_header().is_some() {
            0
        } else {
            need
        };
        let too_small = |path: &Path, source| CryptsetupError::TooSmall {
            path: path.to_owned(),
            source,
        };
        let payload = PayloadOffset::new(before).map_err(|source| CryptsetupError::Size {
            path: disk.path().to_owned(),
            source,
        })?;
        Geometry::of_device(size, payload).map_err(|source| too_small(disk.path(), source))?;
        let mut header_file = None;
        match target.detached_header() {
            None => self.judge(&disk, need, overwrite, how)?,
            Some(header) => {
                if Disk::open(header, Sharing::Anybody).is_ok_and(|header| header.is_same_as(&disk)) {
                    return Err(CryptsetupError::HeaderOnPayload {
                        path: header.to_owned(),
                    });
                }
                self.judge(&disk, 0, Overwrite::Nothing, how)?;
                match Disk::open(header, Sharing::Nobody) {
                    Err(CryptsetupError::DeviceMissing { .. }) => header_file = Some(need),
                    Err(e) => return Err(e),
                    Ok(disk) if disk.size() < need => {
                        let source = GeometryError::NoRoom {
                            device: disk.size(),
                            offset: need,
                        };
                        return Err(too_small(header, source));
                    }
                    Ok(disk) => self.judge(&disk, need, overwrite, how)?,
                }
            }
        }
        Ok(Cleared {
            format: self,
            target,
            size,
            header_file,
        })
    }

    /// That what was asked for exists in the target's version of LUKS.
    fn check(&self, target: &Target) -> Result<(), CryptsetupError> {
        self.pbkdf
            .check(target.format())
            .map_err(CryptsetupError::Pbkdf)?;
        if target.format() == EncryptionFormat::Luks1 {
            let asked = [
                ("label", self.label.is_some()),
                ("sector size", self.sector_size.is_some()),
                ("size of its header", self.area.is_some()),
            ];
            if let Some((option, _)) = asked.into_iter().find(|(_, given)| *given) {
                return Err(CryptsetupError::Luks2Only {
                    path: target.device().to_owned(),
                    option,
                });
            }
        }
        Ok(())
    }

    /// `need` is how far the header goes, or 0 on a disk that gets none.
    fn judge(
        &self,
        disk: &Disk,
        need: u64,
        overwrite: Overwrite,
        how: Looking<'_>,
    ) -> Result<(), CryptsetupError> {
        match look_at(disk, need, how)? {
            Inspection::Blank => Ok(()),
            Inspection::Holds { content, offset } => {
                if overwrite == Overwrite::OurUnfinished
                    && begun(disk, self.uuid, need, content, offset)?
                    && first_data(disk, need, need, how)?.is_none()
                {
                    return Ok(());
                }
                Err(CryptsetupError::NotBlank {
                    path: disk.path().to_owned(),
                    found: content,
                    offset,
                })
            }
        }
    }
}

/// Whether what was found is a header of this UUID, or what is written before it.
fn begun(disk: &Disk, uuid: Uuid, need: u64, content: Content, offset: u64) -> Result<bool, CryptsetupError> {
    Ok(match content {
        Content::Luks1 | Content::Luks2 => {
            let mut text = [0; 37];
            disk.read_at(offset.saturating_add(168), &mut text)?;
            let mut expected = [0; 37];
            if let Some(place) = expected.get_mut(..36) {
                place.copy_from_slice(
                    uuid.hyphenated()
                        .encode_lower(&mut Uuid::encode_buffer())
                        .as_bytes(),
                );
            }
            // Whoever has a whole copy here is not somebody whose format was interrupted.
            let another = matches!(counting(disk)?, Found::Whole(copy) if copy.identity.uuid != uuid);
            text == expected && !another
        }
        Content::Unknown => (4096..need).contains(&offset),
        _ => false,
    })
}

impl Cleared<'_> {
    /// The size of the device.
    #[must_use]
    pub fn size(&self) -> DeviceSize {
        self.size
    }

    /// The command that formats. It is only as good as the look before it: run it at once, and keep others away from the
    /// device, as [`Cryptsetup::format`](crate::Cryptsetup::format) does with a lock.
    #[must_use]
    pub fn command<'k>(&self, program: &Program, key: &'k SecretFile) -> CommandSpec<'k> {
        let Self { format, target, .. } = self;
        let mut spec = command::action(program, "luksFormat")
            .args(["--type", command::word(target.format())])
            .args(["--uuid", &format.uuid.to_string()])
            .args(["--cipher", format.cipher.specification()])
            .args(["--key-size", &format.cipher.key_bits().to_string()])
            .args(["--hash", "sha256"])
            .args(format.pbkdf.arguments(target.format()));
        if target.format() == EncryptionFormat::Luks2 {
            let sector = format.sector_size.unwrap_or_default().get();
            spec = spec.args(["--sector-size", &sector.to_string()]);
        }
        if let Some(label) = &format.label {
            // One word, so that a label is never taken for an option.
            spec = spec.arg(format!("--label={label}"));
        }
        if let Some(area) = format.area {
            spec = spec.args(area.arguments());
        }
        spec = command::key_file(spec, key);
        if let Some(header) = target.detached_header() {
            spec = spec.arg("--header").arg(header);
        }
        spec.arg(target.device())
    }

    /// Makes the file of a detached header that is not there yet, of the size that cryptsetup wants and
    /// private.
    pub(crate) fn make_header_file(&self) -> Result<Option<MadeFile<'_>>, CryptsetupError> {
        let (Some(bytes), Some(path)) = (self.header_file, self.target.detached_header()) else {
            return Ok(None);
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let file = file.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => CryptsetupError::Exists {
                path: path.to_owned(),
            },
            _ => CryptsetupError::io("create", path, e),
        })?;
        let made = MadeFile { path: Some(path) };
        file.set_len(bytes)
            .map_err(|e| CryptsetupError::io("enlarge", path, e))?;
        Ok(Some(made))
    }
}

/// A file that goes again unless it is kept.
pub(crate) struct MadeFile<'p> {
    path: Option<&'p Path>,
}

impl MadeFile<'_> {
    pub(crate) fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for MadeFile<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cipher, Luks2Area, Pbkdf, SectorSize};
    use expect_test::{Expect, expect};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use strongroom_secret::{Origin, Passphrase};

    fn check(format: &Format, target: &Target, expected: &Expect) {
        let program = Program::at("/bin/true").unwrap();
        let key = SecretFile::new(&Passphrase::generate().unwrap()).unwrap();
        let size = DeviceSize::new(64 << 20).unwrap();
        let cleared = Cleared {
            format,
            target,
            size,
            header_file: None,
        };
        let spec = cleared.command(&program, &key);
        let words: Vec<String> = spec.arguments().map(|word| format!("{word:?}")).collect();
        expected.assert_eq(&words.join(" "));
    }

    fn volume() -> Uuid {
        Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)
    }

    #[test]
    fn luks1_for_a_generated_key() {
        let target = Target::new(EncryptionFormat::Luks1, "/dev/vg/lv").unwrap();
        let format = Format::new(volume(), Pbkdf::for_origin(Origin::Generated));
        check(
            &format,
            &target,
            &expect![[
                r#""luksFormat" "--batch-mode" "--type" "luks1" "--uuid" "01234567-89ab-cdef-0123-456789abcdef" "--cipher" "aes-xts-plain64" "--key-size" "512" "--hash" "sha256" "--pbkdf" "pbkdf2" "--pbkdf-force-iterations" "1000" "--key-file" "/proc/self/fd/900" "/dev/vg/lv""#
            ]],
        );
    }

    #[test]
    fn luks1_for_a_key_that_somebody_chose_and_a_nasty_path() {
        let path = Path::new(OsStr::from_bytes(b"/-v, \xff\"'\n--/--type"));
        let target = Target::new(EncryptionFormat::Luks1, path).unwrap();
        let format = Format::new(volume(), Pbkdf::for_origin(Origin::Imported)).cipher(Cipher::Aes128Xts);
        check(
            &format,
            &target,
            &expect![[
                r#""luksFormat" "--batch-mode" "--type" "luks1" "--uuid" "01234567-89ab-cdef-0123-456789abcdef" "--cipher" "aes-xts-plain64" "--key-size" "256" "--hash" "sha256" "--key-file" "/proc/self/fd/900" "/-v, \xFF\"'\n--/--type""#
            ]],
        );
    }

    #[test]
    fn luks2_with_everything() {
        let target = Target::new(EncryptionFormat::Luks2, "/srv/payload").unwrap();
        let target = target.with_header("/srv/--header").unwrap();
        let memory = strongroom_types::ByteSize::mib(64);
        let format = Format::new(volume(), Pbkdf::argon2id(memory, 4, 1).unwrap())
            .label("--type luks1, x".parse().unwrap())
            .sector_size(SectorSize::B4096)
            .area(Luks2Area::SMALLEST);
        check(
            &format,
            &target,
            &expect![[
                r#""luksFormat" "--batch-mode" "--type" "luks2" "--uuid" "01234567-89ab-cdef-0123-456789abcdef" "--cipher" "aes-xts-plain64" "--key-size" "512" "--hash" "sha256" "--pbkdf" "argon2id" "--pbkdf-force-iterations" "4" "--pbkdf-memory" "65536" "--pbkdf-parallel" "1" "--sector-size" "4096" "--label=--type luks1, x" "--luks2-metadata-size" "16384" "--luks2-keyslots-size" "262144" "--key-file" "/proc/self/fd/900" "--header" "/srv/--header" "/srv/payload""#
            ]],
        );
    }

    #[test]
    fn luks2_by_default() {
        let target = Target::new(EncryptionFormat::Luks2, "/v").unwrap();
        let memory = strongroom_types::ByteSize::mib(64);
        check(
            &Format::new(volume(), Pbkdf::measured_within(memory).unwrap()),
            &target,
            &expect![[
                r#""luksFormat" "--batch-mode" "--type" "luks2" "--uuid" "01234567-89ab-cdef-0123-456789abcdef" "--cipher" "aes-xts-plain64" "--key-size" "512" "--hash" "sha256" "--pbkdf-memory" "65536" "--sector-size" "512" "--key-file" "/proc/self/fd/900" "/v""#
            ]],
        );
    }
}
