use std::path::Path;

use super::LabError;
use super::place::Place;

/// The directories of a host's own, in the lab's and as libvirt names them.
pub(crate) const OWN: [(&str, &str); 5] = [
    ("run", "/run/libvirt"),
    ("etc", "/etc/libvirt"),
    ("lib", "/var/lib/libvirt"),
    ("log", "/var/log/libvirt"),
    ("cache", "/var/cache/libvirt"),
];

/// What each host is told.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    pub(crate) force_tls: bool,
    /// More lines for qemu.conf.
    pub(crate) qemu: String,
}

impl Configuration {
    /// Writes what libvirtd reads when it starts, into the directory of this host.
    pub(crate) fn write(&self, place: &Place, host: &str) -> Result<(), LabError> {
        let uuid = Path::new("/proc/sys/kernel/random/uuid");
        let uuid = std::fs::read_to_string(uuid).map_err(LabError::io("read", uuid))?;
        let lab = place.path().display();
        place.write(
            &format!("{host}/etc/libvirtd.conf"),
            &format!(
                "host_uuid = \"{}\"\n\
                 log_outputs = \"3:file:/var/log/libvirt/libvirtd.log\"\n\
                 auth_unix_rw = \"none\"\n\
                 auth_unix_ro = \"none\"\n\
                 listen_tls = 1\n\
                 listen_tcp = 0\n\
                 auth_tls = \"none\"\n\
                 ca_file = \"{lab}/pki/qemu/ca-cert.pem\"\n\
                 cert_file = \"{lab}/pki/qemu/server-cert.pem\"\n\
                 key_file = \"{lab}/pki/qemu/server-key.pem\"\n",
                uuid.trim()
            ),
        )?;
        place.write(
            &format!("{host}/etc/qemu.conf"),
            &format!(
                "user = \"root\"\n\
                 group = \"root\"\n\
                 security_driver = \"none\"\n\
                 remember_owner = 0\n\
                 max_core = 0\n\
                 stdio_handler = \"file\"\n\
                 namespaces = []\n\
                 cgroup_controllers = []\n\
                 shared_filesystems = [ \"{lab}/shared\" ]\n\
                 default_tls_x509_cert_dir = \"{lab}/pki/qemu\"\n\
                 default_tls_x509_verify = 1\n\
                 migrate_tls_force = {}\n{}",
                u8::from(self.force_tls),
                self.qemu
            ),
        )
    }
}
