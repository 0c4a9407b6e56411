//! What a host sees of a pool's directory, against what was said of it.

use strongroom_endpoint_selector::{DirectoryFacts, Locking, MountFacts};
use strongroom_storage_pool::ErrorKind;

use crate::FilePoolConfig;
use crate::config::Storage;

/// What an operation does in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads a prepared directory.
    Read,
    /// It changes a prepared directory.
    Write,
    /// It makes the directory the pool's.
    Prepare,
}

/// Why a directory will not do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

type Check = Result<(), Unfit>;

fn unfit(kind: ErrorKind, message: String) -> Check {
    Err(Unfit { kind, message })
}

/// Whether the directory is what it should be for this.
pub(crate) fn check(config: &FilePoolConfig, facts: &DirectoryFacts, access: Access) -> Check {
    mount(config, facts)?;
    if access != Access::Prepare {
        mark(config, facts)?;
    }
    if access == Access::Read {
        return Ok(());
    }
    if !facts.writable {
        let message = format!("{} cannot be written to", config.directory.display());
        return unfit(ErrorKind::PermissionDenied, message);
    }
    locks(config, facts)?;
    clock(config, facts)
}

fn mount(config: &FilePoolConfig, facts: &DirectoryFacts) -> Check {
    let directory = config.directory.display();
    let wrong = |found: String| {
        let message = format!(
            "{directory} {found}; mount what the pool expects there, or correct what it is told to expect"
        );
        unfit(ErrorKind::Io, message)
    };
    let kind = facts.mount.as_ref().map_or(&facts.kind, |mount| &mount.kind);
    match &config.file_system {
        Some(expected) if expected != kind => return wrong(format!("is on {kind} and not on {expected}")),
        _ => {}
    }
    let export = match &config.storage {
        Storage::Nfs { export } => Some(export),
        Storage::Local | Storage::SharedMountPoint => None,
    };
    if export.is_some() && !kind.starts_with("nfs") {
        return wrong(format!("is on {kind} and not on nfs: the export is not mounted"));
    }
    let source = config.source.as_ref().or(export);
    if source.is_none() && !config.mount_point {
        return Ok(());
    }
    let Some(mount) = &facts.mount else {
        return wrong("is on a file system of which the host cannot tell how it is mounted".to_owned());
    };
    if config.mount_point && mount.point != facts.path {
        let point = mount.point.display();
        return wrong(format!(
            "is no mount point, it belongs to what is mounted at {point}"
        ));
    }
    match source {
        Some(expected) if trimmed(expected) != trimmed(&mount.source) => {
            return wrong(format!("is on {} and not on {expected}", mount.source));
        }
        _ => {}
    }
    match export {
        Some(_) => nfs(config, mount),
        None => Ok(()),
    }
}

/// `server:/path` and `server:/path/` are the same export.
fn trimmed(source: &str) -> &str {
    source.trim_end_matches('/')
}

/// The options of nfs(5) that lose data: writes that are given up, locks that only this host knows of.
fn nfs(config: &FilePoolConfig, mount: &MountFacts) -> Check {
    let option = |names: &[&str]| mount.options.iter().find(|o| names.contains(&o.as_str()));
    let at = mount.point.display();
    if let Some(option) = option(&["soft", "softerr"])
        && !config.soft_mount
    {
        let message = format!(
            "{at} is mounted with {option}: guests lose writes when the server is away; mount it hard, or say that it may be soft"
        );
        return unfit(ErrorKind::Unsupported, message);
    }
    let local = option(&["nolock", "local_lock=all", "local_lock=flock", "local_lock=posix"]);
    if let Some(option) = local
        && config.shared()
        && config.locks
    {
        let message = format!(
            "{at} is mounted with {option}: no other host sees the locks; mount it without, or say that the pool does without locks"
        );
        return unfit(ErrorKind::Unsupported, message);
    }
    Ok(())
}

fn mark(config: &FilePoolConfig, facts: &DirectoryFacts) -> Check {
    let (directory, pool) = (config.directory.display(), &config.pool);
    match &facts.pool {
        Some(marked) if marked == pool => match (&facts.owner, &config.installation) {
            (Some(owner), Some(own)) if owner != own => {
                let message = format!(
                    "{directory} is the directory of pool {pool} of another installation, {owner}, and this one is {own}; mount the \
                     right file system there, or take the directory over when the other installation is gone"
                );
                unfit(ErrorKind::WrongDisk, message)
            }
            _ => Ok(()),
        },
        Some(other) => {
            let message =
                format!("{directory} is the directory of pool {other}; mount the right file system there");
            unfit(ErrorKind::WrongDisk, message)
        }
        None => {
            let message = format!(
                "{directory} has no mark of pool {pool}: its file system is not mounted, or it was never prepared"
            );
            unfit(ErrorKind::Io, message)
        }
    }
}

fn locks(config: &FilePoolConfig, facts: &DirectoryFacts) -> Check {
    if facts.locking == Locking::Missing && config.shared() && config.locks {
        let message = format!(
            "{} is on a file system without locks, where nothing keeps two hosts from opening one disk; use another one, or say \
             that the pool does without locks",
            config.directory.display()
        );
        return unfit(ErrorKind::Unsupported, message);
    }
    Ok(())
}

fn clock(config: &FilePoolConfig, facts: &DirectoryFacts) -> Check {
    let Some(skew) = facts
        .clock_skew
        .filter(|skew| u128::from(skew.unsigned_abs()) > config.clock_skew.as_millis())
    else {
        return Ok(());
    };
    let message = format!(
        "the clock of the storage of {} is {skew} ms off the host's, more than {} ms; set the clocks",
        config.directory.display(),
        config.clock_skew.as_millis()
    );
    if config.shared() {
        return unfit(ErrorKind::Io, message);
    }
    tracing::warn!(pool = %config.pool, "{message}");
    Ok(())
}
