use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tiny_http::Method;

use crate::StorageError;
use crate::key::Secret;
use crate::storage::{Storage, check_name};
use crate::volume::Volume;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewVolume {
    bytes: u64,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    key: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    owner: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    volumes: Vec<String>,
}

/// A status code and what the body says; no body for nothing.
pub(crate) type Answer = (u16, Option<Value>);

/// Does what a request asks for. Every request can be repeated.
pub(crate) fn answer(
    storage: &Storage,
    exports: &Path,
    method: &Method,
    url: &str,
    body: &[u8],
) -> Result<Answer, StorageError> {
    let path: Vec<&str> = url.strip_prefix("/v1/").unwrap_or_default().split('/').collect();
    match (method, path.as_slice()) {
        (Method::Get, ["usage"]) => {
            let (total, free) = storage.usage()?;
            Ok((200, Some(json!({ "total": total, "free": free }))))
        }
        (Method::Put, ["owner"]) => {
            let Owner { owner } = read(body)?;
            storage.claim(&owner).map(|()| (204, None))
        }
        (Method::Get, ["volumes"]) => Ok((200, Some(json!(storage.names())))),
        (Method::Put, ["volumes", name]) => {
            let new: NewVolume = read(body)?;
            let (volume, is_new) = storage.create(name, new.bytes, new.labels, new.key.as_ref())?;
            Ok((if is_new { 201 } else { 200 }, Some(shown(&volume)?)))
        }
        (Method::Get, ["volumes", name]) => told(&*storage.get(name)?),
        (Method::Delete, ["volumes", name]) => storage.delete(name).map(|()| (204, None)),
        (Method::Post, ["volumes", name, "unlock"]) => {
            let (volume, secret) = (storage.get(name)?, read(body)?);
            volume.unlock(&secret)?;
            told(&volume)
        }
        (Method::Put, ["volumes", name, "bytes"]) => {
            let (volume, size): (_, Size) = (storage.get(name)?, read(body)?);
            volume.grow(size.bytes)?;
            told(&volume)
        }
        (Method::Put, ["volumes", name, "labels"]) => {
            let volume = storage.get(name)?;
            volume.label(read(body)?)?;
            told(&volume)
        }
        (Method::Put, ["volumes", name, "limits"]) => {
            let volume = storage.get(name)?;
            volume.limit(read(body)?)?;
            told(&volume)
        }
        (Method::Put, ["groups", snapshot]) => {
            check_name(snapshot)?;
            let group: Group = read(body)?;
            storage.take_group(snapshot, &group.volumes)?;
            let shown = group.volumes.iter().map(|name| shown(&*storage.get(name)?));
            Ok((200, Some(shown.collect::<Result<Value, _>>()?)))
        }
        (Method::Put, ["volumes", name, "exports", host]) => {
            check_name(host)?;
            storage.get(name)?.export(host)?;
            Ok((200, Some(json!({ "path": exports.join(name) }))))
        }
        (Method::Delete, ["volumes", name, "exports", host]) => {
            storage
                .find(name)
                .map_or(Ok(()), |volume| volume.end_export(host))?;
            Ok((204, None))
        }
        (Method::Put, ["volumes", name, "snapshots", snapshot]) => {
            check_name(snapshot)?;
            let volume = storage.get(name)?;
            volume.take_snapshot(snapshot)?;
            told(&volume)
        }
        (Method::Delete, ["volumes", name, "snapshots", snapshot]) => {
            check_name(snapshot)?;
            let volume = storage.get(name)?;
            volume.remove_snapshot(snapshot)?;
            told(&volume)
        }
        (Method::Post, ["volumes", name, "snapshots", snapshot, "restore"]) => {
            let volume = storage.get(name)?;
            volume.restore(snapshot)?;
            told(&volume)
        }
        _ => Err(StorageError::NotFound(format!("{method} {url}"))),
    }
}

fn told(volume: &Volume) -> Result<Answer, StorageError> {
    Ok((200, Some(shown(volume)?)))
}

fn shown(volume: &Volume) -> Result<Value, StorageError> {
    let view = volume.view()?;
    Ok(json!({
        "name": volume.name,
        "bytes": view.record.bytes,
        "allocated": view.allocated,
        "encrypted": view.record.key.is_some(),
        "labels": view.record.labels,
        "limits": view.record.limits,
        "snapshots": view.record.snapshots.keys().collect::<Vec<_>>(),
    }))
}

/// The words of the parser are left out: they could quote what it parsed.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, StorageError> {
    serde_json::from_slice(body).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        StorageError::Invalid(format!(
            "the body is not what this address takes, at line {line}, column {column}"
        ))
    })
}
