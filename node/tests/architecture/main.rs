//! The rules that ARCHITECTURE.md and docs/ state, held against the tree, so that a reader can trust those pages.
//!
//! Plain Rust, no dependency. Each failure names the file and says what to do. The scanners are themselves tested
//! with planted violations, because a rule that cannot fail is no rule.

mod arrows;
mod documents;
mod habits;
mod mask;
mod modules;
mod sizes;
mod tree;

use tree::Tree;

/// Fails with every violation at once.
fn none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n  {}\n", violations.len(), violations.join("\n  "));
}

#[test]
fn rooms_import_only_from_the_rooms_that_they_may() {
    none(&arrows::violations(&Tree::load().unwrap()));
}

#[test]
fn decisions_have_no_effects() {
    none(&arrows::effects_in_core(&Tree::load().unwrap()));
}

#[test]
fn files_and_functions_fit_a_reader() {
    let tree = Tree::load().unwrap();
    println!("{}", sizes::report(&tree));
    none(&sizes::violations(&tree));
}

#[test]
fn every_file_begins_with_what_it_owns() {
    none(&habits::missing_heads(&Tree::load().unwrap()));
}

#[test]
fn every_file_is_part_of_a_crate() {
    none(&modules::dead_files(&Tree::load().unwrap()));
}

#[test]
fn nothing_panics_on_purpose_outside_tests() {
    none(&habits::panics(&Tree::load().unwrap()));
}

#[test]
fn nothing_is_left_for_later_or_switched_off_without_a_reason() {
    none(&habits::leftovers(&Tree::load().unwrap()));
}

#[test]
fn decisions_of_record_are_indexed() {
    none(&documents::decisions_without_index(&Tree::load().unwrap()));
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let tree = Tree::load().unwrap();
    println!("{}", documents::pending_promises(&tree));
    none(&documents::promises_without_test(&tree));
}

#[test]
fn every_dependency_has_its_reason() {
    none(&documents::dependencies_without_reason(&Tree::load().unwrap()));
}

#[test]
fn every_crate_is_held_to_the_workspace_lints() {
    none(&documents::crates_without_lints(&Tree::load().unwrap()));
}

#[test]
fn pages_name_only_paths_that_exist() {
    none(&documents::dead_paths(&Tree::load().unwrap()));
}

#[test]
fn the_map_shows_every_room() {
    none(&documents::rooms_without_map(&Tree::load().unwrap()));
}

#[test]
fn every_metric_is_moved_somewhere() {
    none(&habits::dead_metrics(&Tree::load().unwrap()));
}

#[test]
fn every_setting_is_used_somewhere() {
    none(&habits::dead_settings(&Tree::load().unwrap()));
}
