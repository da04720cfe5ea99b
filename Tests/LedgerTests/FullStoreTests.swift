import Foundation
import GRDB
import Planning
import TestSupport
import Testing

@testable import Ledger

/// A store without room says so, whatever SQLite calls it: room is waited for, other faults are not.
@Suite struct FullStoreTests {
  private static let codes: [ResultCode] = [
    .SQLITE_FULL, .SQLITE_IOERR_WRITE, .SQLITE_IOERR_FSYNC, .SQLITE_IOERR_SHMSIZE, .SQLITE_IOERR_SHMOPEN,
    .SQLITE_CANTOPEN,
  ]

  private func fill(_ disk: String) async throws {
    try await runTool("sh", ["-c", "cat /dev/zero > '\(disk)/filler' || true"], mustSucceed: false)
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aFailedCallToAFullDiskIsAFullDisk() async throws {
    try await SmallDisk.with(megabytes: 1) { disk, _ in
      try await fill(disk)
      for code in Self.codes {
        for place in [disk, disk + "/rollcall.db"] {
          let error = SweepLedger.wrap(DatabaseError(resultCode: code), place)
          #expect(error.code == .diskFull, "\(code)")
        }
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: disk) == ["filler"])
    }
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aStoreThatCannotBeWrittenSaysWhatToDo() async throws {
    try await SmallDisk.with(megabytes: 8) { disk, _ in
      do { _ = try SweepLedger(store: disk + "/store") }
      try await runTool("mount", ["-o", "remount,ro", disk])
      let error = #expect(throws: LedgerError.self) { try SweepLedger(store: disk + "/store") }
      #expect(error?.code == .unusable)
      let message = error?.message ?? ""
      #expect(message.contains("read-only file system") && message.contains("--store"), "\(message)")
    }
  }

  @Test func aFailedCallToADiskWithRoomIsNoFullDisk() async throws {
    try await Scratch.with { scratch in
      for code in Self.codes where code != .SQLITE_FULL {
        #expect(SweepLedger.wrap(DatabaseError(resultCode: code), scratch.path).code == .unusable, "\(code)")
      }
      let left = try FileManager.default.contentsOfDirectory(atPath: scratch.path)
      #expect(left.isEmpty)
    }
  }

  /// SQLite cannot make its shared-memory file there.
  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aStoreThatIsOpenedOnAFullDiskSaysSo() async throws {
    try await SmallDisk.with(megabytes: 4) { disk, _ in
      do { _ = try SweepLedger(store: disk) }
      try await fill(disk)
      let error = #expect(throws: LedgerError.self) { try SweepLedger(store: disk) }
      #expect(error?.code == .diskFull, "\(String(describing: error))")
      try FileManager.default.removeItem(atPath: disk + "/filler")
      #expect(try SweepLedger(store: disk).sweeps(limit: 1) == [])
    }
  }

  /// A store with the sweep `s1` on a full disk: nothing can be written any more.
  private func fullLedger(on disk: String, _ scratch: Scratch) async throws -> SweepLedger {
    let ledger = try SweepLedger(store: disk)
    let plan = try Planner.plan(text: "name: small\nrun: {command: \"true\"}\n", path: scratch.path("small.yaml"))
    try ledger.create(sweep: "s1", plan: plan, fleet: FleetReader.thisMachine(), runs: [], now: 1)
    try await fill(disk)
    let full = #expect(throws: LedgerError.self) {
      for _ in 0..<1000 { try ledger.append(EventRecord(at: 2, sweep: "s1", kind: "another")) }
    }
    #expect(full?.code == .diskFull)
    return ledger
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aFullStoreIsOpenedWithItsReserveByWhoMakesRoom() async throws {
    try await SmallDisk.with(megabytes: 100) { disk, scratch in
      let plan = try Planner.plan(text: "name: small\nrun: {command: \"true\"}\n", path: scratch.path("small.yaml"))
      do {
        try SweepLedger(store: disk).create(
          sweep: "s1", plan: plan, fleet: FleetReader.thisMachine(), runs: [], now: 1)
      }
      try await fill(disk)
      let error = #expect(throws: LedgerError.self) { try SweepLedger(store: disk) }
      #expect(error?.code == .diskFull)
      #expect(FileManager.default.fileExists(atPath: disk + "/reserve"))
      let ledger = try SweepLedger(store: disk, usingReserve: true)
      #expect(!FileManager.default.fileExists(atPath: disk + "/reserve"))
      try ledger.append(EventRecord(at: 2, sweep: "s1", kind: "pruned"), usingReserve: true)
      #expect(try ledger.events(of: "s1", limit: 1).map(\.kind) == ["pruned"])
    }
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aWordIsWrittenIntoTheReserve() async throws {
    try await SmallDisk.with(megabytes: 100) { disk, scratch in
      let ledger = try await fullLedger(on: disk, scratch)
      try ledger.append(EventRecord(at: 3, sweep: "s1", kind: "pruned"), usingReserve: true)
      #expect(try ledger.events(of: "s1", limit: 1).map(\.kind) == ["pruned"])
    }
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aSweepOfAFullStoreCanBeCancelled() async throws {
    try await SmallDisk.with(megabytes: 100) { disk, scratch in
      let ledger = try await fullLedger(on: disk, scratch)
      try ledger.requestCancel(sweep: "s1", now: 3)
      #expect(try ledger.sweep(named: "s1").state == .cancelling)
      #expect(!FileManager.default.fileExists(atPath: disk + "/reserve"))
      try FileManager.default.removeItem(atPath: disk + "/filler")
      _ = try SweepLedger(store: disk)
      #expect(FileManager.default.fileExists(atPath: disk + "/reserve"), "made anew where there is room")
    }
  }
}
