import Foundation
import Glibc
import TestSupport
import Testing

@testable import Gathering

/// Parts of equal content that several gathers write at once.
@Suite struct PartFileTests {
  /// Calls `body` on this thread with a user's rights on files: root may write what is read-only.
  private static func asUser<Value>(_ store: ArtifactStore, _ body: () throws -> Value) throws -> Value {
    guard geteuid() == 0 else { return try body() }
    // glibc declares it in a header that Swift does not import.
    let symbol = try #require(dlsym(nil, "setfsuid"))
    let setfsuid = unsafeBitCast(symbol, to: (@convention(c) (uid_t) -> CInt).self)
    for path in [store.root, store.incomingPath, store.objectsPath] { try #require(chown(path, 65534, 65534) == 0) }
    _ = setfsuid(65534)
    defer { _ = setfsuid(0) }
    return try body()
  }

  private static func sealed(_ file: WantedFile, _ bytes: [UInt8], _ store: ArtifactStore) throws -> PartFile {
    let part = try PartFile(file, resuming: false, store: store)
    try part.append(bytes[...])
    try part.seal()
    return part
  }

  private func withStore(_ body: (ArtifactStore, WantedFile, [UInt8]) throws -> Void) throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let bytes = SplitMix64.bytes(5000, seed: 1)
    let entry = ManifestEntry(
      path: "layer00_Block_rank0.pt", byteCount: bytes.count, modified: 0,
      sha256: "91f0ae6b6ac4c7aeee39a7ce6ae6ba9d4e2e8ad6a51e6e8dfc6ccd5f9a6a8f11", rank: 0)
    let store = try ArtifactStore(root: scratch.path("store"))
    try Self.asUser(store) { try body(store, WantedFile(entry), bytes) }
  }

  @Test func `a sealed part of another gather is left to it`() throws {
    try withStore { store, file, bytes in
      let first = try Self.sealed(file, bytes, store)
      let second = try Self.sealed(file, bytes, store)
      #expect(access("\(store.incomingPath)/\(file.part).part", F_OK) == 0)
      try first.commit(as: file.part, isOnDisk: false)
      try second.commit(as: file.part, isOnDisk: false)
      #expect(store.byteCount(of: file.part) == bytes.count)
      #expect(try FileSystem.contents(of: store.incomingPath).files == [])
    }
  }

  @Test func `a sealed part that a crash left is written anew`() throws {
    try withStore { store, file, bytes in
      let path = "\(store.incomingPath)/\(file.part).part"
      try FileSystem.replace(path, with: Array(bytes.prefix(100)))
      try #require(chmod(path, 0o444) == 0)
      let part = try Self.sealed(file, bytes, store)
      #expect(try FileSystem.contents(of: store.incomingPath).files == ["\(file.part).part"])
      try part.commit(as: file.part, isOnDisk: false)
      #expect(store.byteCount(of: file.part) == bytes.count)
      #expect(try FileSystem.contents(of: store.incomingPath).files == [])
    }
  }
}
