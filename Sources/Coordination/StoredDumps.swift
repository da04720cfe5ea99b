public import Dumps
import Foundation
public import Gathering

/// A run's directory in a store, read as dumps: what its manifest promises and the store no longer holds whole is
/// named as unreadable, never silently absent.
public enum StoredDumps {
  /// - Throws: `GatheringError` where the run has no manifest, `DumpError` where it holds no dumps.
  public static func load(
    _ artifacts: ArtifactStore, sweep: String, run: String, layout: DumpLayout, pattern: String? = nil,
    verifyChecksums: Bool = true
  ) throws -> DumpSet {
    try loadChecked(
      artifacts, sweep: sweep, run: run, layout: layout, pattern: pattern, verifyChecksums: verifyChecksums
    ).set
  }

  /// The same, with what is not as the manifest says.
  ///
  /// - Parameter offsets: What is added to the files' times, by their paths.
  static func loadChecked(
    _ artifacts: ArtifactStore, sweep: String, run: String, layout: DumpLayout, pattern: String?,
    offsets: [String: Int64] = [:], verifyChecksums: Bool
  ) throws -> (set: DumpSet, damages: [StoreDamage]) {
    let damages = try artifacts.verify(sweep: sweep, run: run)
    var set = try DumpSetLoader.load(
      directory: artifacts.runDirectory(sweep: sweep, run: run), layout: layout,
      modificationTimes: try artifacts.modificationTimes(sweep: sweep, run: run, offsets: offsets),
      verifyChecksums: verifyChecksums, pattern: pattern, isStored: true)
    let damaged = Set(damages.map(\.path))
    set.captures.removeAll { damaged.contains($0.file) }
    set.unreadable.removeAll { damaged.contains($0.file) }
    set.plain.removeAll { damaged.contains($0.file) }
    set.statistics.removeAll { damaged.contains($0.file) }
    set.unreadable += damages.map { Unreadable(file: $0.path, why: $0.message) }
    set.unrecognised.removeAll(where: ArtifactStore.isOwn)
    set.files.removeAll(where: ArtifactStore.isOwn)
    return (set, damages)
  }

  /// Any directory: one that a store laid out is checked against its manifest, another is read as it is.
  ///
  /// `worldSize` is how many ranks the manifest names; nil for another directory.
  public static func load(
    directory: String, layout: DumpLayout, pattern: String? = nil, verifyChecksums: Bool = true
  ) throws -> (set: DumpSet, worldSize: Int?) {
    guard let place = place(of: directory) else {
      let set = try DumpSetLoader.load(
        directory: directory, layout: layout, verifyChecksums: verifyChecksums, pattern: pattern)
      return (set, nil)
    }
    let artifacts = try ArtifactStore(root: place.store)
    let (sweepName, run) = (place.sweep, place.run)
    let worldSize = worldSize(of: try artifacts.manifest(sweep: sweepName, run: run))
    let set = try load(
      artifacts, sweep: sweepName, run: run, layout: layout, pattern: pattern, verifyChecksums: verifyChecksums)
    return (set, worldSize)
  }

  /// Ranks that a manifest names, without those that no world has; nil where it names none.
  static func worldSize(of manifest: Manifest) -> Int? {
    manifest.entries.compactMap(\.rank).filter { $0 < DumpSet.worldLimit }.max().map { $0 + 1 }
  }

  /// The store, sweep and run whose directory this is; nil for any other directory.
  static func place(of directory: String) -> (store: String, sweep: String, run: String)? {
    let place = URL(fileURLWithPath: directory).standardizedFileURL
    let sweep = place.deletingLastPathComponent()
    let sweeps = sweep.deletingLastPathComponent()
    guard sweeps.lastPathComponent == "sweeps",
      FileManager.default.fileExists(atPath: place.appendingPathComponent("manifest.json").path)
    else { return nil }
    return (sweeps.deletingLastPathComponent().path, sweep.lastPathComponent, place.lastPathComponent)
  }
}
