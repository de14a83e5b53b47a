//! The names in directories, in order, a part at a time.
//!
//! A directory may have millions, and its container may want this to run out of memory. So no more than a share of them
//! is kept: the directory is read again for the next ones, which costs time and no space.

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::vec::IntoIter;

use nix::dir::Dir;
use nix::fcntl::OFlag;

/// Names that are kept of all directories that are walked through at once, as long as there are not too many of those.
const KEPT: usize = 32_768;
const LEAST: usize = 32;

/// How many names are kept, in all directories above.
#[derive(Default)]
pub struct Budget(usize);

pub struct Names {
    ready: IntoIter<Vec<u8>>,
    taken: usize,
    last: Option<Vec<u8>>,
    more: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self { ready: Vec::new().into_iter(), taken: 0, last: None, more: true }
    }
}

impl Names {
    /// The next name that is in one of the directories; one that is in several comes once.
    pub fn next(&mut self, directories: &[BorrowedFd], budget: &mut Budget) -> nix::Result<Option<Vec<u8>>> {
        if self.ready.len() == 0 && self.more {
            self.forget(budget);
            let most = LEAST.max(KEPT.saturating_sub(budget.0) / 2);
            let (names, more) = first_names(directories, self.last.as_deref(), most)?;
            self.taken = names.len();
            budget.0 += self.taken;
            self.last = names.last().cloned();
            self.more = more;
            self.ready = names.into_iter();
        }
        Ok(self.ready.next())
    }

    /// The directory is done with.
    pub fn forget(&mut self, budget: &mut Budget) {
        budget.0 -= std::mem::take(&mut self.taken);
    }
}

/// The first `most` names behind `last`, and whether there are more.
fn first_names(
    directories: &[BorrowedFd],
    last: Option<&[u8]>,
    most: usize,
) -> nix::Result<(Vec<Vec<u8>>, bool)> {
    let mut names = BTreeSet::new();
    let mut more = false;
    for directory in directories {
        // One of its own, because the place in it is shared by all duplicates.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let own = super::open_name(*directory, b".", flags)?;
        let mut listing = Dir::from_fd(own.into_raw_fd())?;
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || last.is_some_and(|last| name <= last) {
                continue;
            }
            if names.len() == most && names.last().is_some_and(|last: &Vec<u8>| name > last.as_slice()) {
                more = true;
                continue;
            }
            names.insert(name.to_vec());
            if names.len() > most {
                names.pop_last();
                more = true;
            }
        }
    }
    Ok((names.into_iter().collect(), more))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn all_names_come_in_order_and_once_however_few_are_kept() {
        let place = std::env::temp_dir().join(format!("flamebox-names-{}", std::process::id()));
        let mut expected = BTreeSet::new();
        for (directory, step) in [("one", 2), ("other", 3)] {
            fs::create_dir_all(place.join(directory)).unwrap();
            for number in (0..500).step_by(step) {
                let name = format!("n{:x}", number * 7919 % 500);
                fs::write(place.join(directory).join(&name), b"").unwrap();
                expected.insert(name.into_bytes());
            }
        }
        let opened = ["one", "other"].map(|name| File::open(place.join(name)).unwrap());
        let directories = [opened[0].as_fd(), opened[1].as_fd()];
        let mut budget = Budget(KEPT);
        let mut names = Names::default();
        let mut all = Vec::new();
        while let Some(name) = names.next(&directories, &mut budget).unwrap() {
            assert!(budget.0 <= KEPT + LEAST);
            all.push(name);
        }
        names.forget(&mut budget);
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(all, expected.into_iter().collect::<Vec<_>>());
        assert_eq!(budget.0, KEPT);
    }
}
