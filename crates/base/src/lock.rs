//! Lock: state that several tasks share, and that outlives a panic of one of them.
//!
//! The standard locks refuse everybody once a holder has panicked. Here whoever comes next goes on with the state as it
//! is: holders change it in steps that are whole each for itself, a panic ends the part that made it ([`crate::part`]),
//! and that part reads its state anew when it starts again. A daemon in which every later caller panics too helps
//! nobody. The store alone keeps the standard locks: its state has no half that may be gone on with, and its part is
//! fatal.

use std::sync::{self, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};

/// One holder at a time.
#[derive(Debug, Default)]
pub struct Lock<T: ?Sized>(sync::Mutex<T>);

/// Many readers, or one writer.
#[derive(Debug, Default)]
pub struct RwLock<T: ?Sized>(sync::RwLock<T>);

impl<T> Lock<T> {
    pub const fn new(value: T) -> Lock<T> {
        Lock(sync::Mutex::new(value))
    }

    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Lock<T> {
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without waiting: whoever has all of the lock shares it with nobody.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> RwLock<T> {
    pub const fn new(value: T) -> RwLock<T> {
        RwLock(sync::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_one_holder_stops_no_other() {
        let (mut lock, both) = (Lock::new(1), RwLock::new(1));
        let panics = || {
            let (mut one, mut other) = (lock.lock(), both.write());
            (*one, *other) = (2, 2);
            panic!("while both are held");
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
        assert_eq!((*lock.lock(), *both.read()), (2, 2));
        *both.write() = 3;
        assert_eq!(*both.read(), 3);
        *lock.get_mut() += 1;
        assert_eq!(*lock.lock(), 3);
    }
}
