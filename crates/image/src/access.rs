//! Who may use a pulled image (KEP-2535): that it is here lets nobody have it whom its registry
//! would not give it. For each repository that an image came from, the index says whether it was
//! given without credentials, or to whose. What was loaded or built here is everybody's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::registry::credentials::Credentials;

/// Holders that are remembered of one image in one repository; further ones ask the registry again.
const HOLDERS_MOST: usize = 128;

/// To whom a registry gives an image that is being pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Given {
    /// The administrator fetches it for everybody, as if it were loaded.
    #[default]
    Unrecorded,
    /// It was asked for without credentials.
    ToAnyone,
    To(Holder),
}

/// By repository.
pub(crate) type Records = BTreeMap<String, Access>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    Anyone,
    Holders(Vec<Holder>),
}

/// Somebody with credentials: where they are kept, and what tells them apart from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    owner: String,
    fingerprint: String,
}

impl Holder {
    /// `owner` is the caller's name for the place that the credentials are kept in.
    pub fn new(owner: String, credentials: &Credentials) -> Holder {
        Holder { owner, fingerprint: credentials.fingerprint() }
    }

    /// The same credentials elsewhere, or others in the same place (they were renewed).
    fn is(&self, other: &Holder) -> bool {
        self.fingerprint == other.fingerprint || self.owner == other.owner
    }
}

/// Whether these records of an image admit somebody with these credentials, by the name of that repository.
pub(crate) fn admits(records: &Records, repository: &str, holders: &[Holder]) -> bool {
    match records.get(repository) {
        None => false,
        Some(Access::Anyone) => true,
        Some(Access::Holders(known)) => {
            known.iter().any(|known| holders.iter().any(|holder| known.is(holder)))
        }
    }
}

/// An image came from this repository, or the administrator has named it so.
pub(crate) fn note(
    all: &mut BTreeMap<Digest, Records>,
    id: Digest,
    repository: String,
    given: &Given,
) {
    let holders = || Access::Holders(Vec::new());
    match given {
        Given::Unrecorded => {
            if let Some(records) = all.get_mut(&id) {
                records.insert(repository, Access::Anyone);
            }
        }
        Given::ToAnyone => drop(all.entry(id).or_default().insert(repository, Access::Anyone)),
        Given::To(holder) => {
            let records = all.entry(id).or_default();
            if let Access::Holders(known) = records.entry(repository).or_insert_with(holders) {
                known.retain(|known| known.owner != holder.owner);
                known.push(holder.clone());
                // The latest count: the others ask again.
                known.drain(..known.len().saturating_sub(HOLDERS_MOST));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::ImageBuilder;
    use crate::index::Names;
    use crate::load::tests::open;
    use crate::reference::Reference;
    use crate::store::Images;
    use crate::store::Used;
    use crate::unpack::tests::Temp;

    fn holder(owner: &str, password: &str) -> Holder {
        let (username, password) = ("u".to_owned(), password.to_owned());
        Holder::new(owner.to_owned(), &Credentials::Basic { username, password })
    }

    #[test]
    fn what_was_pulled_is_for_those_who_may_pull_it() {
        let temp = Temp::new();
        let images = open(&temp);
        let build = || ImageBuilder::new().file("/f", 0o644, "x").load(&images, "r.example/a:1");
        let image = build().unwrap();
        let name = |text: &str| Reference::parse(text).unwrap();
        let (here, other) = (name("r.example/a:1"), name("r.example/b:1"));
        let (one, two) = (holder("n/one", "p"), holder("n/two", "q"));
        assert!(images.admits(&image, &here, &[]), "what was loaded is everybody's");

        let given = |images: &Images, name: &Reference, given: Given| {
            let digests = vec![name.with_digest(image.id)];
            let names = Names { digests, given, ..Names::default() };
            images.commit(|index| Ok(index.insert((*image).clone(), &names))).unwrap();
        };
        given(&images, &here, Given::Unrecorded);
        assert!(images.admits(&image, &here, &[]), "nor is what the administrator fetched");
        given(&images, &here, Given::To(one.clone()));
        let check = |images: &Images| {
            assert!(!images.admits(&image, &here, &[]));
            assert!(!images.admits(&image, &here, std::slice::from_ref(&two)));
            assert!(images.admits(&image, &here, &[two.clone(), one.clone()]));
            assert!(
                images.admits(&image, &here, &[holder("elsewhere", "p")]),
                "the same credentials"
            );
            assert!(images.admits(&image, &here, &[holder("n/one", "new")]), "the same secret");
            assert!(images.admits(&image, &name("r.example/a:2"), std::slice::from_ref(&one)));
        };
        check(&images);
        let ones = std::slice::from_ref(&one);
        assert!(!images.admits(&image, &other, ones), "another repository");
        given(&images, &other, Given::ToAnyone);
        assert!(images.admits(&image, &other, &[]), "given to anyone");
        given(&images, &other, Given::To(two.clone()));
        assert!(images.admits(&image, &other, &[]), "and still is");
        drop(images);
        let images = open(&temp);
        check(&images);

        for n in 0..2 * HOLDERS_MOST {
            let holder = holder(&n.to_string(), &n.to_string());
            given(&images, &here, Given::To(holder));
        }
        let access = images.index().access(image.id).unwrap()[&here.repository()].clone();
        let Access::Holders(known) = access else { panic!("still not for anyone") };
        assert_eq!(known.len(), HOLDERS_MOST);
        images.tag("r.example/a:1", "mine.example/a:1").unwrap();
        assert!(images.admits(&image, &name("mine.example/a:1"), &[]), "the administrator's word");
        assert!(!images.admits(&image, &here, &[]), "of that name alone");
        images.remove(&image.id.to_string(), Used::Remove).unwrap();
        let built =
            ImageBuilder::new().file("/f", 0o644, "x").load(&images, "r.example/a:1").unwrap();
        assert_eq!(built.id, image.id);
        assert!(images.admits(&built, &here, &[]), "what was removed is forgotten");
    }
}
