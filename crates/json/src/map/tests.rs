//! Maps: their order, both ways to hold them, and what they are as JSON.

use super::*;
use crate::{from_str, json};
use expect_test::expect;

fn named(count: usize) -> Map {
    (0..count).map(|i| (format!("{i:04}"), i.into())).collect()
}

/// Whatever the order and the number, it is what a search tree would be.
#[test]
fn maps_are_search_trees() {
    for count in [0, 1, 5, FEW - 1, FEW, FEW + 1, 3 * FEW] {
        let (mut map, mut tree) = (Map::new(), BTreeMap::new());
        // Every name once, in an order that is none.
        for i in (0..count).map(|i| i * 7919 % count.max(1)) {
            let name = format!("{:x}", i * 31);
            assert_eq!(map.insert(name.clone(), i.into()), tree.insert(name, i.into()));
        }
        assert!(map.iter().eq(tree.iter()), "{count}");
        assert!(map.iter().rev().eq(tree.iter().rev()), "{count}");
        assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
        for name in ["0", "1f", "zz"] {
            assert_eq!(map.get(name), tree.get(name));
            *map.entry(name).or_insert(Value::Null) = json!([name]);
            *tree.entry(name.into()).or_insert(Value::Null) = json!([name]);
            assert_eq!(map.insert(name.into(), 1.into()), tree.insert(name.into(), 1.into()));
        }
        map.retain(|name, _| !name.ends_with('0'));
        tree.retain(|name, _| !name.ends_with('0'));
        assert_eq!(map.remove("1f"), tree.remove("1f"));
        assert_eq!(map.remove("1f"), None);
        assert!(map.into_iter().eq(tree), "{count}");
    }
}

#[test]
fn what_is_equal_does_not_depend_on_the_past() {
    let mut shrunk = named(2 * FEW);
    shrunk.retain(|name, _| **name < *"0003");
    assert_eq!(shrunk, named(3));
    assert_ne!(shrunk, named(4));
    assert_ne!(shrunk.remove("0001"), named(3).remove("0002"));
}

#[test]
fn the_last_of_a_name_counts() {
    let map: Map = from_str(r#"{"b":1,"a":{"x":null},"b":[2]}"#).expect("JSON");
    expect![[r#"{"a":{"x":null},"b":[2]}"#]].assert_eq(&Value::from(map).to_string());
}

#[test]
fn a_map_of_one_name_has_room_for_one() {
    let Held::Few(list) = from_str::<Map>(r#"{"id":1}"#).expect("JSON").0 else {
        panic!("it is a list");
    };
    assert_eq!(list.capacity(), 1);
    assert_eq!((size_of::<Map>(), size_of::<Value>()), (24, 32));
}
