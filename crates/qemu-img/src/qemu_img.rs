use std::io::ErrorKind;
use std::path::Path;

use strongroom_exec::{Program, Runner, Watch};
use strongroom_types::Call;

use crate::command::{Command, Condition};
use crate::description::{compare_with_file, compare_with_header};
use crate::map::Map;
use crate::node::Node;
use crate::progress::fraction;
use crate::{Convert, Encrypted, Image, ImageFormat, ImageInfo, Info, QemuImgError, Rebase, Refusal, Side};

/// The tool: where it is, and what runs it.
///
/// A [`Call`] says for each run until when, whether still, and who is told how far it is. When it is cancelled or its time is
/// over, the tool is killed: an image that was being made is then empty or incomplete, and an empty file passes for an
/// empty plain disk. Throw it away.
#[derive(Debug, Clone)]
pub struct QemuImg<R> {
    program: Program,
    runner: R,
}

impl<R: Runner> QemuImg<R> {
    /// This program, run by this runner.
    pub fn new(program: Program, runner: R) -> Self {
        Self { program, runner }
    }

    /// The `qemu-img` of this machine.
    ///
    /// # Errors
    /// [`QemuImgError::MissingTool`].
    pub fn find(runner: R) -> Result<Self, QemuImgError> {
        let program = Program::find("qemu-img").map_err(|source| QemuImgError::MissingTool { source })?;
        Ok(Self::new(program, runner))
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Makes sure of what the command requires, runs it, and reads its answer.
    ///
    /// Before a command that reads or writes content, every layer of every image is compared with its description: its place
    /// is a file or a block device as described; an image described as raw does not begin with a LUKS or qcow2 header; a qcow2
    /// header says encrypted or plain as described, names a backing file exactly when a base is described, and names no data
    /// file. The name itself is not compared: the described base is what is opened. One run of `info` is spent on each qcow2 layer. A path where an image is to be made must be free.
    ///
    /// A copy is on stable storage when this returns. Before a key is removed, the removal is rehearsed in memory. After a
    /// change of keys the image was opened with the key that was added, and with the one that it is described with.
    ///
    /// # Errors
    /// [`QemuImgError`].
    pub fn run<'k, C: Command<'k>>(&self, command: &C, call: &Call) -> Result<C::Answer, QemuImgError> {
        let spec = command.spec(&self.program)?;
        for condition in command.conditions() {
            self.ensure(&condition, call)?;
        }
        let report = |line: &[u8]| {
            if let Some(fraction) = fraction(line) {
                call.report(fraction);
            }
        };
        let mut watch = Watch::call(call);
        if command.tells_progress() {
            watch = watch.with_lines(&report);
        }
        let completed = self
            .runner
            .run(&spec, &watch)
            .map_err(|source| QemuImgError::Run {
                operation: command.operation(),
                source,
            })?;
        let answer = command.answer(&completed)?;
        for layers in command.to_prove() {
            self.run(&Map::first_sector(&layers.0), call)
                .map_err(|error| QemuImgError::Unproven {
                    operation: command.operation(),
                    path: layers.0.path().to_owned(),
                    source: Box::new(error),
                })?;
        }
        if let Some(path) = command.to_sync() {
            sync(path)?;
        }
        Ok(answer)
    }

    /// Reads the header of an image, without its key.
    ///
    /// # Errors
    /// [`QemuImgError`].
    pub fn info<S: Side>(&self, image: &Image<'_, S>, call: &Call) -> Result<ImageInfo, QemuImgError> {
        self.run(&Info::of(image), call)
    }

    /// Opens the image with its key and with those of the bases that are described, which proves that they fit. `info` proves
    /// nothing: it answers with a wrong key as with the right one.
    ///
    /// # Errors
    /// [`QemuImgError::WrongKey`] when a key opens no keyslot, [`QemuImgError::NotAsDescribed`] when the image is not
    /// encrypted.
    pub fn prove_key(&self, image: &Image<'_, Encrypted>, call: &Call) -> Result<(), QemuImgError> {
        self.run(&Map::first_sector(&image.node), call).map(drop)
    }

    /// Copies, with what depends on the file system of the target decided.
    ///
    /// # Errors
    /// [`QemuImgError`]. The target is then incomplete.
    pub fn convert<S: Side>(&self, convert: &Convert<'_, S>, call: &Call) -> Result<(), QemuImgError> {
        self.run(&convert.decided(), call)
    }

    /// Rebases, and where the new base was opened with a key, puts its plain name into the header with a second run.
    ///
    /// # Errors
    /// [`QemuImgError`]. After a failure the overlay has its old base or the new one, and the same content with either.
    pub fn rebase(&self, rebase: &Rebase<'_>, call: &Call) -> Result<(), QemuImgError> {
        self.run(rebase, call)?;
        match rebase.follow_up() {
            Some(rename) => self.run(&rename, call),
            None => Ok(()),
        }
    }

    fn ensure(&self, condition: &Condition<'_>, call: &Call) -> Result<(), QemuImgError> {
        match condition {
            Condition::Described(layers) => self.ensure_described(&layers.0, call),
            Condition::Absent(path) => match std::fs::symlink_metadata(path) {
                Ok(_) => Err(Refusal::Exists { path: path.clone() }.into()),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                Err(source) => Err(QemuImgError::File {
                    doing: "look at",
                    path: path.clone(),
                    source,
                }),
            },
            Condition::NoSnapshot(layers, name) => match self.count_snapshots(&layers.0, name, call)? {
                0 => Ok(()),
                _ => Err(Refusal::SnapshotExists {
                    path: layers.0.path().to_owned(),
                    name: name.clone(),
                }
                .into()),
            },
            Condition::KeyStays(change) => self.rehearse(change, call),
            Condition::OneSnapshot(layers, name) => {
                let path = layers.0.path().to_owned();
                match self.count_snapshots(&layers.0, name, call)? {
                    0 => Err(Refusal::NoSnapshot {
                        path,
                        name: name.clone(),
                    }
                    .into()),
                    1 => Ok(()),
                    count => Err(Refusal::AmbiguousSnapshot {
                        path,
                        name: name.clone(),
                        count,
                    }
                    .into()),
                }
            }
        }
    }

    fn ensure_described(&self, node: &Node<'_>, call: &Call) -> Result<(), QemuImgError> {
        let mut layer = Some(node);
        while let Some(node) = layer {
            compare_with_file(node)?;
            if node.format == ImageFormat::Qcow2 {
                compare_with_header(node, &self.run(&Info::of_node(node), call)?)?;
            }
            layer = node.base.as_deref();
        }
        Ok(())
    }

    fn count_snapshots(&self, node: &Node<'_>, name: &str, call: &Call) -> Result<usize, QemuImgError> {
        let info = self.run(&Info::of_node(node), call)?;
        Ok(info
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.name == name)
            .count())
    }
}

fn sync(path: &Path) -> Result<(), QemuImgError> {
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|source| QemuImgError::File {
            doing: "sync",
            path: path.to_owned(),
            source,
        })
}
