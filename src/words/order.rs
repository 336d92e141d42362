//! Sorting a few things: the library's sorts are made for many, and take 12 KB of code.

/// Sorts `items` by what `key` gives of each, ascending; equal ones in any order. Looks at each pair once.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    let mut rest = items;
    while let Some((first, others)) = rest.split_first_mut() {
        for other in others.iter_mut() {
            if key(other) < key(first) {
                core::mem::swap(first, other);
            }
        }
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::words::effort::cases(256))]

        #[test]
        fn what_is_sorted_is_what_the_library_makes_of_it(mut items in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut sorted = items.clone();
            sorted.sort_by_key(|item| core::cmp::Reverse(*item));
            sort_by_key(&mut items, |item| core::cmp::Reverse(*item));
            prop_assert_eq!(items, sorted);
        }
    }
}
