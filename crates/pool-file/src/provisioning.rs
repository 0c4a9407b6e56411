//! How much the volumes of a pool promise their guests together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom_storage_pool::{ErrorKind, PoolError};
use strongroom_types::{ByteSize, GuestSize};

use crate::errand::Errand;
use crate::volume_file::VolumeFile;

/// What each file of a volume promises, kept between the calls of one pool. The names that are there are listed each time, so
/// that files which others made or removed are seen; only what is new is looked into.
#[derive(Debug, Default)]
pub(crate) struct Account(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    files: BTreeMap<String, Promise>,
    /// Counts listings: what is newer than a listing is not missing from it.
    listings: u64,
}

#[derive(Debug, Clone, Copy)]
struct Promise {
    bytes: u64,
    since: u64,
    /// Its file is not made yet, or not yet of this size.
    in_work: bool,
}

/// A promise that is made good, or taken back when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation<'b> {
    account: &'b Account,
    name: String,
}

impl Account {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum of all promises, and the limit. `None` when the pool has no limit.
    pub(crate) fn balance(&self, errand: &Errand<'_>) -> Result<Option<(ByteSize, ByteSize)>, PoolError> {
        let Some(limit) = limit(errand) else {
            return Ok(None);
        };
        self.count(errand)?;
        Ok(Some((ByteSize::bytes(self.books().sum_without("")), limit)))
    }

    /// Promises so many bytes under the name of a file, in place of what it promises now, if the pool may.
    pub(crate) fn reserve(
        &self,
        errand: &Errand<'_>,
        name: String,
        guest: GuestSize,
    ) -> Result<Option<Reservation<'_>>, PoolError> {
        let Some(limit) = limit(errand) else {
            return Ok(None);
        };
        self.count(errand)?;
        let mut books = self.books();
        let others = books.sum_without(&name);
        if others.saturating_add(guest.get()) > limit.get() {
            let message = format!(
                "the volumes promise {} already; with {} more it would be above the limit of {limit}",
                ByteSize::bytes(others),
                guest.bytes()
            );
            return Err(errand.error(ErrorKind::NoSpace, &message));
        }
        let promise = Promise {
            bytes: guest.get(),
            since: books.listings,
            in_work: true,
        };
        books.files.insert(name.clone(), promise);
        Ok(Some(Reservation { account: self, name }))
    }

    /// The file is of another size now: it is looked into again when the sum is wanted.
    pub(crate) fn forget(&self, name: &str) {
        self.books().files.remove(name);
    }

    /// Brings the books up to date with what is there.
    fn count(&self, errand: &Errand<'_>) -> Result<(), PoolError> {
        let listing = {
            let mut books = self.books();
            books.listings += 1;
            books.listings
        };
        let names: BTreeSet<String> = errand.names(&errand.config.directory)?.into_iter().collect();
        let unknown: Vec<String> = {
            let mut books = self.books();
            books
                .files
                .retain(|name, promise| promise.in_work || promise.since >= listing || names.contains(name));
            names
                .into_iter()
                .filter(|name| !books.files.contains_key(name))
                .collect()
        };
        for name in unknown {
            let Some((volume, file)) = VolumeFile::of_name(&name) else {
                continue;
            };
            let bytes = match errand.inspect(file, &volume) {
                Ok(facts) => facts.guest.get(),
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                // It is no volume that anybody could use.
                Err(e) if e.kind() == ErrorKind::WrongDisk => {
                    tracing::warn!(pool = %errand.config.pool, name, error = %e, "not counted");
                    continue;
                }
                Err(e) => return Err(e),
            };
            self.books().files.entry(name).or_insert(Promise {
                bytes,
                since: listing,
                in_work: false,
            });
        }
        Ok(())
    }
}

fn limit(errand: &Errand<'_>) -> Option<ByteSize> {
    let percent = errand.config.provisioning?;
    let bytes = u128::from(errand.directory.total.get()) * u128::from(percent) / 100;
    Some(ByteSize::bytes(u64::try_from(bytes).unwrap_or(u64::MAX)))
}

impl Books {
    fn sum_without(&self, name: &str) -> u64 {
        let others = self.files.iter().filter(|(other, _)| other.as_str() != name);
        others.fold(0, |sum: u64, (_, promise)| sum.saturating_add(promise.bytes))
    }
}

impl Reservation<'_> {
    /// The file is there and of the size that was promised.
    pub(crate) fn keep(self) {
        let mut books = self.account.books();
        let since = books.listings;
        if let Some(promise) = books.files.get_mut(&self.name) {
            promise.in_work = false;
            promise.since = since;
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut books = self.account.books();
        if books.files.get(&self.name).is_some_and(|promise| promise.in_work) {
            books.files.remove(&self.name);
        }
    }
}
