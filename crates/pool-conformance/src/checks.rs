//! Every check, in the order in which they run.

mod attach;
mod clone;
mod content;
mod create;
mod delete;
mod encryption;
mod fault;
mod fault_content;
mod fault_create;
mod fault_snapshot;
mod fault_unfinished;
mod fault_volume;
mod group;
mod grow;
mod keys;
mod keys_stored;
mod limits;
mod names;
mod other_key;
mod over;
mod overlay;
mod pool;
mod shrink;
mod snapshot;
mod snapshot_keeping;

use crate::check::Check;

pub(crate) const CHECKS: &[Check] = &[
    pool::UNCHANGING,
    pool::PREPARE_AGAIN,
    pool::ANOTHER_POOL,
    pool::USAGE,
    pool::UNSUPPORTED,
    pool::RESTART,
    names::NO_COLLISION,
    names::THREADS,
    create::EXACT_SIZE,
    create::WHAT_WAS_ASKED,
    create::SIZE_RULE,
    create::GET,
    create::AGAIN,
    create::OTHER_SIZE,
    create::OTHER_FORMAT,
    create::OTHER_SIDE,
    create::WRONG_KEY,
    create::CONTENT_NOT_COMPARED,
    encryption::REFUSED,
    encryption::NO_HOST,
    encryption::CIPHERTEXT,
    encryption::KEY_OPENS,
    encryption::OTHER_KEY,
    keys::NOT_TOLD,
    keys_stored::NOT_STORED,
    delete::GONE,
    delete::NOTHING,
    delete::SNAPSHOTS,
    delete::NOTHING_LEFT,
    attach::AGAIN,
    attach::WHAT_IT_IS,
    attach::DISCARD,
    attach::NOTHING,
    attach::DETACH,
    grow::EXACT_SIZE,
    grow::SAME_SIZE,
    grow::SMALLER,
    grow::CONTENT,
    grow::WRONG_KEY,
    shrink::EXACT_SIZE,
    shrink::SAME_SIZE,
    shrink::LARGER,
    shrink::CONTENT,
    snapshot::AGAIN,
    snapshot::REMOVED,
    snapshot::CONTENT,
    snapshot::SIZE,
    snapshot::CIPHER,
    snapshot::NOTHING,
    snapshot_keeping::OWN_NAMES,
    snapshot_keeping::RESTART,
    snapshot_keeping::RECOVER,
    other_key::SNAPSHOT,
    group::ALL,
    group::MIXED,
    clone::OWN_KEY,
    clone::SAME_AS_SOURCE,
    clone::AGAIN,
    clone::NOTHING,
    clone::OTHER_SIDE,
    clone::SOURCE_STAYS,
    clone::SHARED_KEY,
    other_key::CLONE_AGAIN,
    other_key::CLONE_SOURCE,
    content::TEMPLATE,
    content::TOO_LARGE,
    content::COPY,
    content::INTO_PLAIN,
    content::DECLASSIFIED,
    overlay::SAYS_SO,
    overlay::NAMELESS,
    overlay::WRITES,
    overlay::IN_USE,
    overlay::FORGET_NOTHING,
    overlay::FLATTEN,
    limits::LIMIT,
    limits::RECOVER,
    over::NOTHING,
    fault_create::FINISHED,
    fault_unfinished::NOT_FOUND,
    fault_create::GIVEN_UP,
    fault_create::CALL_PASSED_ON,
    fault_volume::DELETE,
    fault_volume::ATTACH,
    fault_volume::GROW,
    fault_volume::SHRINK,
    fault_snapshot::SNAPSHOT,
    fault_snapshot::GROUP,
    fault_content::CONTENT,
    fault_content::CLONE,
    fault_content::FLATTEN,
];
