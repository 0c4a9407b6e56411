//! What a volume costs to make and to open, beside the bare tool with its defaults.
//!
//! `cargo bench -p strongroom-cryptsetup` prints both and their ratio.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::Bencher;
use strongroom_cryptsetup::{Cryptsetup, Format, Overwrite, Pbkdf, Target, Uuid};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::{Call, EncryptionFormat};
use tempfile::TempDir;

type Failure = Box<dyn std::error::Error>;

struct Bench {
    directory: TempDir,
    cryptsetup: Cryptsetup,
    key: SecretFile,
    cost: Pbkdf,
}

impl Bench {
    fn new() -> Result<Self, Failure> {
        let passphrase = Passphrase::generate()?;
        Ok(Self {
            directory: TempDir::new()?,
            cryptsetup: Cryptsetup::find(Arc::new(SystemRunner::new()))?,
            key: SecretFile::new(&passphrase)?,
            cost: Pbkdf::for_origin(passphrase.origin()),
        })
    }

    fn blank(&self) -> Result<PathBuf, Failure> {
        let path = self.directory.path().join(Uuid::new_v4().to_string());
        File::create_new(&path)?.set_len(64 << 20)?;
        Ok(path)
    }

    /// Looks, formats, reads back, opens with the key, syncs.
    fn ours(&self, format: EncryptionFormat) -> Result<Target, Failure> {
        let target = Target::new(format, self.blank()?)?;
        let how = Format::new(Uuid::new_v4(), self.cost);
        self.cryptsetup
            .format(&Call::new(), &target, &how, &self.key, Overwrite::Nothing)?;
        Ok(target)
    }

    /// `cryptsetup luksFormat` with these words and nothing around it.
    fn bare(&self, words: &[&str]) -> Result<PathBuf, Failure> {
        let path = self.blank()?;
        let mut spec = CommandSpec::new(Program::find("cryptsetup")?)
            .args(["luksFormat", "--batch-mode"])
            .args(words);
        let key = self.key.path_in_child(|descriptor| spec.pass(descriptor));
        let spec = spec.arg("--key-file").arg(key).arg(&path);
        let done = SystemRunner::new().run(&spec, &Watch::nobody())?;
        if done.code == 0 {
            Ok(path)
        } else {
            Err(done.message().into())
        }
    }
}

const DEFAULTS: &[&str] = &["--type", "luks1"];
const FORCED: &[&str] = &[
    "--type",
    "luks1",
    "--pbkdf",
    "pbkdf2",
    "--pbkdf-force-iterations",
    "1000",
];

/// Runs the closure once per sample. A failure ends the benchmark, which would else measure nothing.
fn sample<T>(bencher: Bencher<'_, '_>, work: impl Fn(&Bench) -> Result<T, Failure> + Sync) {
    match Bench::new() {
        Ok(bench) => bencher.bench(|| work(&bench).map_err(fail)),
        Err(e) => fail(e),
    }
}

fn fail(error: Failure) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{error}");
    std::process::exit(1);
}

#[divan::bench(args = [EncryptionFormat::Luks1, EncryptionFormat::Luks2])]
fn format(bencher: Bencher<'_, '_>, format: EncryptionFormat) {
    sample(bencher, |bench| bench.ours(format));
}

#[divan::bench]
fn bare_luks_format_with_forced_iterations(bencher: Bencher<'_, '_>) {
    sample(bencher, |bench| bench.bare(FORCED));
}

#[divan::bench(sample_count = 3)]
fn bare_luks_format_with_defaults(bencher: Bencher<'_, '_>) {
    sample(bencher, |bench| bench.bare(DEFAULTS));
}

fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<(T, Duration), Failure> {
    let begun = Instant::now();
    let outcome = work()?;
    Ok((outcome, begun.elapsed()))
}

/// How often what takes less than a second is repeated for a ratio.
const REPEATED: usize = 15;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Makes and opens volumes either way, and prints how many times the bare tool's defaults take what we take.
fn ratios() -> Result<(), Failure> {
    use std::io::Write;
    let bench = Bench::new()?;
    let (theirs, slow_create) = timed(|| bench.bare(DEFAULTS))?;
    let (mut forced, mut made) = (Vec::new(), Vec::new());
    for _ in 0..REPEATED {
        forced.push(timed(|| bench.bare(FORCED))?.1);
        made.push(timed(|| bench.ours(EncryptionFormat::Luks1))?.1);
    }
    let (forced_create, fast_create) = (median(forced), median(made));
    let theirs = Target::new(EncryptionFormat::Luks1, theirs)?;
    let ours = bench.ours(EncryptionFormat::Luks1)?;
    let open = |target| {
        timed(|| {
            Ok(bench
                .cryptsetup
                .test_passphrase(&Call::new(), target, &bench.key)?)
        })
    };
    let ((), slow_open) = open(&theirs)?;
    let opened: Result<Vec<Duration>, Failure> = (0..REPEATED)
        .map(|_| open(&ours).map(|((), time)| time))
        .collect();
    let fast_open = median(opened?);
    let mut out = std::io::stdout();
    let times = |slow: Duration, fast: Duration| slow.as_secs_f64() / fast.as_secs_f64();
    writeln!(
        out,
        "create: {slow_create:.2?} by default, {fast_create:.2?} here: {:.0} times",
        times(slow_create, fast_create)
    )?;
    writeln!(
        out,
        "open: {slow_open:.2?} by default, {fast_open:.2?} here: {:.0} times",
        times(slow_open, fast_open)
    )?;
    writeln!(
        out,
        "our checks and the proof cost {:.2?} of a create",
        fast_create.saturating_sub(forced_create)
    )?;
    Ok(())
}

fn main() {
    if let Err(e) = ratios() {
        fail(e);
    }
    divan::main();
}
