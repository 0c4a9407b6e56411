use std::path::Path;

use strongroom_exec::Completed;

use crate::CryptsetupError;

/// What an exit code of cryptsetup means for an action on `path`. Codes as in cryptsetup(8), "RETURN CODES".
pub(crate) fn outcome(
    action: &'static str,
    path: &Path,
    done: Completed,
) -> Result<Completed, CryptsetupError> {
    let path = path.to_owned();
    let message = || done.message();
    Err(match done.code {
        0 => return Ok(done),
        1 => CryptsetupError::BadParameters {
            action,
            path,
            message: message(),
        },
        2 => CryptsetupError::WrongPassphrase { path },
        3 => CryptsetupError::OutOfMemory {
            action,
            path,
            message: message(),
        },
        4 => CryptsetupError::DeviceMissing { path },
        5 => CryptsetupError::Busy { path },
        code => CryptsetupError::UnexpectedExit {
            action,
            path,
            code,
            message: message(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: i32) -> Result<Completed, CryptsetupError> {
        outcome(
            "luksFormat",
            Path::new("/v"),
            Completed::new(code, "", "Some\nreason.\n"),
        )
    }

    #[test]
    fn every_documented_exit_code_has_a_kind_of_its_own() {
        assert_eq!(kind(0).unwrap().code, 0);
        assert!(
            matches!(kind(1), Err(CryptsetupError::BadParameters { message, .. }) if message == "Some reason.")
        );
        assert!(matches!(kind(2), Err(CryptsetupError::WrongPassphrase { .. })));
        assert!(
            matches!(kind(3), Err(CryptsetupError::OutOfMemory { message, .. }) if message == "Some reason.")
        );
        assert!(matches!(kind(4), Err(CryptsetupError::DeviceMissing { .. })));
        assert!(matches!(kind(5), Err(CryptsetupError::Busy { .. })));
        assert!(matches!(
            kind(6),
            Err(CryptsetupError::UnexpectedExit { code: 6, .. })
        ));
        assert!(matches!(
            kind(-1),
            Err(CryptsetupError::UnexpectedExit { code: -1, .. })
        ));
    }
}
