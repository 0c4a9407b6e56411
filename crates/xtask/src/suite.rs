//! From which suite of Debian the packages of QEMU and libvirt come.
//!
//! They fit only one another: where `qemu-utils` came from backports, the `qemu-system-x86` of the base suite conflicts
//! with it, and its libvirt is too old for that QEMU. What is there already decides. Where nothing is there yet, Debian 12 gets
//! those of its backports, with which all tests of hypervisors were seen to pass.

/// The release whose own libvirt (9.0) and QEMU (7.2) are older than what the tests of hypervisors need.
const TOO_OLD: &str = "bookworm";

/// The packages that Debian builds from the source packages `qemu` and `libvirt`.
pub(crate) fn is_of_hypervisor(package: &str) -> bool {
    package.starts_with("qemu-") || package.starts_with("libvirt-")
}

/// The suite of backports that they have to come from, by the version of `qemu-utils` that is installed, empty for none, and
/// by the running system (os-release(5)): `bookworm-backports` for a version with `~bpo` in it, and for none on
/// Debian 12. Nothing where the base suite is right.
pub(crate) fn of_hypervisor(version: &str, os_release: &str) -> Option<String> {
    let from_backports = version.contains("~bpo") || (version.is_empty() && is_too_old(os_release));
    let suite = format!("{}-backports", codename(os_release)?);
    from_backports.then_some(suite)
}

/// Whether the libvirt and QEMU of this system's base suite are older than what the tests need.
pub(crate) fn is_too_old(os_release: &str) -> bool {
    codename(os_release) == Some(TOO_OLD)
}

fn codename(os_release: &str) -> Option<&str> {
    let value = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(value.trim_matches('"'))
}

/// Whether apt knows the suite, by what `apt-cache policy` prints of its releases: `release o=..,n=bookworm-backports,..`.
pub(crate) fn is_known(suite: &str, policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("release "))
        .any(|release| {
            release
                .split(',')
                .any(|field| field.strip_prefix("n=") == Some(suite))
        })
}

/// The stanza that makes apt know the suite: the first of these sources (deb822 style, sources.list(5)) with another suite, so
/// that it comes from the same server, signed by the same key.
pub(crate) fn stanza(suite: &str, sources: &str) -> Option<String> {
    let lines = sources
        .lines()
        .skip_while(|line| line.trim().is_empty())
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| !line.starts_with('#'));
    let mut stanza = String::new();
    let mut has_suites = false;
    for line in lines {
        if line.starts_with("Suites:") {
            has_suites = true;
            stanza.push_str(&format!("Suites: {suite}\n"));
        } else {
            stanza.push_str(&format!("{line}\n"));
        }
    }
    has_suites.then_some(stanza)
}

/// The same in the one-line style: the first `deb` line with another suite.
pub(crate) fn one_line(suite: &str, sources: &str) -> Option<String> {
    let line = sources.lines().find(|line| line.starts_with("deb "))?;
    // Options stand in brackets and may have blanks between them.
    let (options, rest) = match line.strip_prefix("deb [") {
        Some(rest) => rest.split_once(']').map(|(o, rest)| (format!("[{o}] "), rest))?,
        None => (String::new(), line.strip_prefix("deb ")?),
    };
    let mut words = rest.split_whitespace();
    let (server, _suite) = (words.next()?, words.next()?);
    let components: Vec<&str> = words.collect();
    Some(format!(
        "deb {options}{server} {suite} {}\n",
        components.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OS_RELEASE: &str = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";

    #[test]
    fn what_is_installed_decides() {
        assert_eq!(of_hypervisor("1:7.2+dfsg-7+deb12u18+b3", OS_RELEASE), None);
        assert_eq!(
            of_hypervisor("1:10.0.2+ds-2+deb13u1~bpo12+1", OS_RELEASE).as_deref(),
            Some("bookworm-backports")
        );
        assert_eq!(of_hypervisor("1:10.0.2~bpo12+1", "ID=debian\n"), None);
    }

    #[test]
    fn where_nothing_is_installed_debian_12_gets_backports_and_no_other_does() {
        assert_eq!(
            of_hypervisor("", OS_RELEASE).as_deref(),
            Some("bookworm-backports")
        );
        assert_eq!(of_hypervisor("", "ID=debian\nVERSION_CODENAME=trixie\n"), None);
    }

    #[test]
    fn a_suite_is_known_by_its_whole_name() {
        let policy = " 100 http://deb.debian.org/debian bookworm-backports/main amd64 Packages\n     \
                      release o=Debian Backports,a=oldstable-backports,n=bookworm-backports,l=Debian Backports,c=main,b=amd64\n";
        assert!(is_known("bookworm-backports", policy));
        assert!(!is_known("bookworm", policy));
        assert!(!is_known("oldstable-backports", policy));
        assert!(!is_known(
            "bookworm-backports",
            "release o=Debian,n=bookworm,c=main\n"
        ));
    }

    #[test]
    fn the_suite_is_added_from_the_server_that_the_others_come_from() {
        let sources = "\nTypes: deb\n# a snapshot\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\n\
                       Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                       Types: deb\nURIs: http://deb.debian.org/debian-security\nSuites: bookworm-security\n";
        let expected = "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm-backports\n\
                        Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        assert_eq!(stanza("bookworm-backports", sources).as_deref(), Some(expected));
        assert_eq!(stanza("bookworm-backports", "# nothing\n"), None);
    }

    #[test]
    fn the_suite_is_added_in_the_one_line_style_too() {
        let sources =
            "# deb cdrom\ndeb [signed-by=/k.gpg arch=amd64] http://mirror/debian/ bookworm main contrib\n";
        assert_eq!(
            one_line("bookworm-backports", sources).as_deref(),
            Some("deb [signed-by=/k.gpg arch=amd64] http://mirror/debian/ bookworm-backports main contrib\n")
        );
        assert_eq!(
            one_line("b", "deb http://mirror/debian bookworm main\n").as_deref(),
            Some("deb http://mirror/debian b main\n")
        );
        assert_eq!(
            one_line("b", "deb-src http://mirror/debian bookworm main\n"),
            None
        );
    }

    #[test]
    fn the_packages_of_qemu_and_libvirt_are_known_by_their_names() {
        for name in [
            "qemu-utils",
            "qemu-system-x86",
            "libvirt-daemon-system",
            "libvirt-clients",
        ] {
            assert!(is_of_hypervisor(name), "{name}");
        }
        assert!(!is_of_hypervisor("cryptsetup-bin") && !is_of_hypervisor("ipxe-qemu"));
    }
}
