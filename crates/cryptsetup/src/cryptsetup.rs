use std::path::Path;
use std::sync::Arc;

use strongroom_exec::{CommandSpec, Completed, Program, Runner, Watch};
use strongroom_types::{Call, EncryptionFormat};
use uuid::Uuid;

use crate::claim::Claim;
use crate::content::LUKS_MAGIC;
use crate::disk::{Disk, Sharing};
use crate::exit::outcome;
use crate::header::expect_version;
use crate::luks2_copy::{BINARY, Found, counting};
use crate::{CryptsetupError, Header, HeaderError, Target, command, luks1, luks2};

/// cryptsetup on this machine. It may be used from several threads at once, for different volumes.
///
/// Every operation takes a [`Call`], whose deadline and cancellation kill the tool. Operations that change a
/// header look at the result before they report it, and have it on stable storage.
#[derive(Debug, Clone)]
pub struct Cryptsetup {
    program: Program,
    runner: Arc<dyn Runner>,
    /// What is claimed for the operation that this copy carries out.
    pub(crate) claim: Option<Arc<Claim>>,
}

impl Cryptsetup {
    /// This program, run by this runner.
    #[must_use]
    pub fn new(program: Program, runner: Arc<dyn Runner>) -> Self {
        Self {
            program,
            runner,
            claim: None,
        }
    }

    /// The program in one of the system's directories, run by this runner.
    ///
    /// # Errors
    /// [`CryptsetupError::MissingTool`].
    pub fn find(runner: Arc<dyn Runner>) -> Result<Self, CryptsetupError> {
        Program::find("cryptsetup")
            .map(|program| Self::new(program, runner))
            .map_err(CryptsetupError::MissingTool)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its version, such as `2.6.1`.
    ///
    /// # Errors
    /// [`CryptsetupError::Run`] when it does not run, [`CryptsetupError::Output`] when it does not say.
    pub fn version(&self, call: &Call) -> Result<String, CryptsetupError> {
        let path = self.program.path();
        let done = self.run(call, "--version", path, &command::version(&self.program))?;
        let text = String::from_utf8_lossy(&done.stdout);
        let version = text
            .split_whitespace()
            .nth(1)
            .filter(|v| v.starts_with(|c: char| c.is_ascii_digit()));
        version.map(str::to_owned).ok_or(CryptsetupError::Output {
            action: "--version",
            path: path.to_owned(),
            wanted: "version",
        })
    }

    /// Whether cryptsetup sees a header of the target's version. A device without one, or with one of the
    /// other version, is `false`.
    ///
    /// # Errors
    /// [`CryptsetupError::DeviceMissing`], [`CryptsetupError::NotADisk`], [`CryptsetupError::Run`].
    pub fn is_luks(&self, call: &Call, target: &Target) -> Result<bool, CryptsetupError> {
        let path = target.header_device();
        Disk::open(path, Sharing::Anybody)?;
        match self.run(call, "isLuks", path, &command::is_luks(&self.program, target)) {
            Ok(_) => Ok(true),
            Err(CryptsetupError::BadParameters { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The UUID of the volume, as cryptsetup reads it.
    ///
    /// # Errors
    /// [`CryptsetupError::NotLuks`], [`CryptsetupError::WrongFormat`], and as [`Cryptsetup::is_luks`].
    pub fn uuid(&self, call: &Call, target: &Target) -> Result<Uuid, CryptsetupError> {
        let path = target.header_device();
        expect_version(target, Sharing::Anybody)?;
        let done = self.run(call, "luksUUID", path, &command::uuid(&self.program, target))?;
        let text = String::from_utf8_lossy(&done.stdout);
        Uuid::try_parse(text.trim()).map_err(|_| CryptsetupError::Output {
            action: "luksUUID",
            path: path.to_owned(),
            wanted: "UUID",
        })
    }

    /// What the header says. LUKS1 is read by this crate itself, without a process; LUKS2 through cryptsetup,
    /// which checks the checksums and both copies, and but for UUID and label, which cryptsetup has no JSON for: they are
    /// those of the copy that counts, the whole one that was written later.
    ///
    /// **Looking may repair.** Where one of the two copies of a LUKS2 header is damaged or older, cryptsetup writes the one
    /// that counts in its place when it may write to the device.
    ///
    /// # Errors
    /// [`CryptsetupError::NotLuks`] when there is none, [`CryptsetupError::WrongFormat`] when it is of the
    /// other version, [`CryptsetupError::Header`] when it is damaged, hostile or of a volume that is being
    /// re-encrypted, and as [`Cryptsetup::is_luks`].
    pub fn header(&self, call: &Call, target: &Target) -> Result<Header, CryptsetupError> {
        let disk = expect_version(target, Sharing::Anybody)?;
        let unusable = |source| CryptsetupError::Header {
            path: target.header_device().to_owned(),
            source,
        };
        match target.format() {
            EncryptionFormat::Luks1 => luks1::read(&whole(&disk)?).map_err(unusable),
            EncryptionFormat::Luks2 => {
                if begins_as_luks(&disk)? {
                    whole::<BINARY>(&disk)?;
                }
                let spec = command::dump_json(&self.program, disk.path());
                // After it, so that what it repaired is what we read.
                match self.run(call, "luksDump", disk.path(), &spec) {
                    Ok(done) => match counting(&disk)? {
                        Found::Whole(copy) => luks2::read(copy.identity, &done.stdout).map_err(unusable),
                        Found::Damaged | Found::Nothing => Err(unusable(HeaderError::NoWholeCopy)),
                    },
                    Err(CryptsetupError::BadParameters { message, .. }) => {
                        Err(unusable(HeaderError::Refused { message }))
                    }
                    Err(e) => Err(e),
                }
            }
        }
    }

    /// Runs a command to its end and takes the exit code for an error of its kind.
    pub(crate) fn run(
        &self,
        call: &Call,
        action: &'static str,
        path: &Path,
        spec: &CommandSpec<'_>,
    ) -> Result<Completed, CryptsetupError> {
        call.check()
            .map_err(|source| CryptsetupError::Interrupted { action, source })?;
        let under_claim = self.claim.as_ref().map(|claim| claim.apply(spec.clone()));
        let done = self
            .runner
            .run(under_claim.as_ref().unwrap_or(spec), &Watch::call(call))
            .map_err(|source| CryptsetupError::Run { action, source })?;
        outcome(action, path, done)
    }
}

fn begins_as_luks(disk: &Disk) -> Result<bool, CryptsetupError> {
    Ok(disk.beginning::<6>()?.0 == *LUKS_MAGIC)
}

/// The first `N` bytes, all of them.
pub(crate) fn whole<const N: usize>(disk: &Disk) -> Result<[u8; N], CryptsetupError> {
    let (bytes, have) = disk.beginning::<N>()?;
    if have < N {
        let source = HeaderError::Truncated {
            have: have as u64,
            need: N as u64,
        };
        return Err(CryptsetupError::Header {
            path: disk.path().to_owned(),
            source,
        });
    }
    Ok(bytes)
}
