//! Messages of lists and watches, as upstream sends them.
