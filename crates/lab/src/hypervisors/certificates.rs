use std::fs;
use std::path::Path;

use super::LabError;
use super::place::Place;
use super::tools::{succeed, tool};
use crate::cache::Cache;

/// Under which name they are kept; another when what is made here changes.
const KEPT: &str = "certificates-1";

const AUTHORITY: &str = "cn = \"lab authority\"\nca\ncert_signing_key\nexpiration_days = 3650\n";

/// One for both hosts, as server and as client. The names and addresses are those by which hosts reach each other.
const HOST: &str = "cn = \"lab host\"\ndns_name = \"h1\"\ndns_name = \"h2\"\ndns_name = \"localhost\"\n\
                    ip_address = \"10.77.0.1\"\nip_address = \"10.77.0.2\"\nip_address = \"127.0.0.1\"\n\
                    tls_www_server\ntls_www_client\nencryption_key\nsigning_key\nexpiration_days = 3650\n";

/// The files of certificates by the names that QEMU gives them, and those of libvirt's clients.
const QEMU: [(&str, &str); 5] = [
    ("ca-cert.pem", "ca-cert.pem"),
    ("host-cert.pem", "server-cert.pem"),
    ("host-key.pem", "server-key.pem"),
    ("host-cert.pem", "client-cert.pem"),
    ("host-key.pem", "client-key.pem"),
];
const CLIENT: [(&str, &str); 3] = [
    ("ca-cert.pem", "cacert.pem"),
    ("host-cert.pem", "clientcert.pem"),
    ("host-key.pem", "clientkey.pem"),
];

/// Puts certificates into `pki/qemu` and `pki/client` of the lab. They are made once for all labs.
///
/// The keys are RSA: libvirtd does not start with an ECDSA certificate, of which it says that it cannot encipher keys.
pub(crate) fn put(place: &Place, cache: &Cache) -> Result<(), LabError> {
    let kept = cache.directory(KEPT, make)?;
    for (directory, files) in [("pki/qemu", &QEMU[..]), ("pki/client", &CLIENT[..])] {
        let directory = place.directory(directory)?;
        for (from, to) in files {
            let to = directory.join(to);
            fs::copy(kept.join(from), &to).map_err(LabError::io("write", &to))?;
        }
    }
    Ok(())
}

fn make(directory: &Path) -> Result<(), LabError> {
    let at = |name: &str| directory.join(name);
    for (name, text) in [("ca.info", AUTHORITY), ("host.info", HOST)] {
        fs::write(at(name), text).map_err(LabError::io("write", &at(name)))?;
    }
    let certtool = || tool("certtool", "gnutls-bin");
    for key in ["ca-key.pem", "host-key.pem"] {
        let words = [
            "--generate-privkey",
            "--key-type",
            "rsa",
            "--bits",
            "2048",
            "--outfile",
        ];
        succeed(&certtool()?.args(words).arg(at(key)))?;
    }
    succeed(
        &certtool()?
            .args(["--generate-self-signed", "--load-privkey"])
            .arg(at("ca-key.pem"))
            .arg("--template")
            .arg(at("ca.info"))
            .arg("--outfile")
            .arg(at("ca-cert.pem")),
    )?;
    succeed(
        &certtool()?
            .args(["--generate-certificate", "--load-privkey"])
            .arg(at("host-key.pem"))
            .arg("--load-ca-certificate")
            .arg(at("ca-cert.pem"))
            .arg("--load-ca-privkey")
            .arg(at("ca-key.pem"))
            .arg("--template")
            .arg(at("host.info"))
            .arg("--outfile")
            .arg(at("host-cert.pem")),
    )?;
    Ok(())
}
