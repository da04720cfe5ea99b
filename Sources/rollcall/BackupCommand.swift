import ArgumentParser
import Foundation
import Gathering
import Ledger
import Transports

struct BackupCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "backup",
    abstract: "Copy the store while it is in use, and check the copy.",
    discussion: """
      The database is copied as of one moment; then all gathered files and those of the jobs, each of which is read \
      again and held against its SHA-256. Gathered files that are damaged in the store are named and left out, jobs' \
      files are named, and the command ends with 65; the rest can be restored.

      Example: rollcall backup -o /backup/rollcall-2026-05-01
      """)

  @Option(name: .shortAndLong, help: "Directory of the copy; it must not be there yet.", completion: .directory)
  var output: String

  @Flag(name: .long, help: "Without the gathered files: verdicts, reports, measures, history and drained hosts.")
  var databaseOnly = false

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    guard FileManager.default.fileExists(atPath: store.directory) else {
      throw UsageError(message: "There is no store at \(store.directory); name it with --store.")
    }
    let (ledger, artifacts) = try store.open()
    let copy = try StoreCopy(from: store.directory, to: output)
    try await copy.make { staging in
      try ledger.backup(to: staging + "/rollcall.db")
      try await copy.directories(["drained"], into: staging)
      guard !databaseOnly, let check = try await copy.files(into: staging) else { return nil }
      try ArtifactStore(root: staging).setAside(check.lost)
      // The next gather that needs them fetches them anew.
      try artifacts.setAside(damagedOf: check.lost)
      return check
    }
    try copy.report("backup", json: store.json)
  }
}

struct RestoreCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "restore",
    abstract: "Make a store from a backup, and check it.",
    discussion: "Example: rollcall restore /backup/rollcall-2026-05-01 --store /var/lib/rollcall")

  @Argument(help: "Directory of the backup.", completion: .directory)
  var backup: String

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let source = URL(fileURLWithPath: backup).standardizedFileURL.path
    guard FileManager.default.fileExists(atPath: source + "/rollcall.db") else {
      throw InputError(message: "\(backup) is no backup: it holds no rollcall.db")
    }
    let copy = try StoreCopy(from: source, to: store.directory)
    try await copy.make { staging in
      // Checks the backup's database as a whole, and leaves it as it is.
      try SweepLedger.restore(source + "/rollcall.db", to: staging + "/rollcall.db")
      try await copy.directories(["drained"], into: staging)
      let check = try await copy.files(into: staging)
      if let check, let first = check.damages.first {
        let others = check.damages.count > 1 ? ", and \(check.damages.count - 1) more" : ""
        throw InputError(message: "\(source): \(first.message)\(others)")
      }
      return check
    }
    // It is whole, whatever reads it.
    let open = (try? SweepLedger(store: store.directory).openSweeps().map(\.id)) ?? []
    for sweep in open.prefix(20) {
      Console.error(
        "rollcall: \(sweep) had not ended when the backup was made. What it began since then is not known here, and is "
          + "begun again once it is resumed or serve finds it; to stop it for good: rollcall cancel \(sweep)")
    }
    try copy.report("restore", openSweeps: open, json: store.json)
  }
}

/// Makes a directory that is there whole or not at all.
private final class StoreCopy {
  let source: String
  let target: String
  /// Of the files; nil where there are none.
  private var check: StoreCheck?

  init(from source: String, to target: String) throws {
    self.source = source
    self.target = URL(fileURLWithPath: target).standardizedFileURL.path
    // A file's name is taken, too, and what a link leads to is somebody's.
    guard try Self.isFree(self.target) else {
      throw UsageError(message: "\(self.target) is there already and no empty directory; name another.")
    }
  }

  private static func isFree(_ path: String) throws -> Bool {
    var facts = stat()
    guard lstat(path, &facts) == 0 else { return true }
    guard facts.st_mode & S_IFMT == S_IFDIR else { return false }
    do {
      return try FileManager.default.contentsOfDirectory(atPath: path).isEmpty
    } catch let error as CocoaError {
      throw OutputError(message: "Cannot write \(path): \(error.localizedDescription)")
    }
  }

  /// - Parameter fill: Fills the directory that is renamed at the end, and gives what it holds.
  func make(_ fill: (_ staging: String) async throws -> StoreCheck?) async throws {
    let staging = target + ".rollcall-part"
    try? FileManager.default.removeItem(atPath: staging)
    do {
      try FileManager.default.createDirectory(
        atPath: staging, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      check = try await fill(staging)
      // Fails where somebody has put something there meanwhile, and so does the move then.
      rmdir(target)
      try FileManager.default.moveItem(atPath: staging, toPath: target)
    } catch {
      try? FileManager.default.removeItem(atPath: staging)
      if let error = error as? CocoaError {
        throw OutputError(message: "Cannot write \(target): \(error.localizedDescription)")
      }
      throw error
    }
  }

  /// Copies objects, runs, reports and notes, links as links; reads every object again.
  func files(into staging: String) async throws -> StoreCheck? {
    // Objects last: what a manifest names stands before it.
    guard try await directories(["sweeps", "playbooks", "files", "objects"], into: staging) else { return nil }
    return try ArtifactStore(root: staging).check()
  }

  /// Copies directories of the store, in one go, so that what is one file here is one there.
  /// - Returns: False where none of them stands.
  @discardableResult
  func directories(_ names: [String], into staging: String) async throws -> Bool {
    let names = names.filter { FileManager.default.fileExists(atPath: source + "/" + $0) }
    guard !names.isEmpty else { return false }
    let words = names.map { shellQuote(source + "/" + $0) }.joined(separator: " ")
    let result = try await LocalTransport().run(
      "exec cp -a -- \(words) \(shellQuote(staging))", input: [], limit: 1 << 16, timeout: .seconds(86_400))
    guard result.status == 0 else {
      let why = String(decoding: result.errorOutput.suffix(500), as: UTF8.self)
      throw OutputError(message: "The files could not be copied to \(staging): \(why)")
    }
    return true
  }

  private struct Document: Encodable {
    var schema: String
    var path: String
    /// Whole ones.
    var objects: Int
    var damaged: [StoreDamage]
    /// Of a restored store: sweeps that go on.
    var openSweeps: [String]?

    enum CodingKeys: String, CodingKey {
      case schema
      case path
      case objects
      case damaged
      case openSweeps = "open_sweeps"
    }
  }

  /// - Throws: `ExitCode` where the copy lacks files.
  func report(_ what: String, openSweeps: [String]? = nil, json: Bool) throws {
    let fresh = check?.damages ?? []
    let dumps = fresh + (check?.known ?? [])
    let damages = dumps + (check?.jobFiles ?? [])
    let objects = (check?.objects ?? 0) - fresh.count { $0.path.hasPrefix("objects/") }
    if json {
      Console.print(
        try JSONOutput.text(
          Document(
            schema: "rollcall.\(what)/1", path: target, objects: objects, damaged: damages, openSweeps: openSweeps)))
    } else {
      Console.print("\(target): database and \(objects) files, all of them checked.")
    }
    guard !damages.isEmpty else { return }
    for damage in damages.prefix(20) { Console.error("rollcall: \(damage.message)") }
    let others = damages.count > 20 ? "\(damages.count - 20) more are damaged. " : ""
    Console.error("rollcall: \(others)The copy holds all others. The disk may be failing.")
    if !dumps.isEmpty {
      Console.error("rollcall: Run the job again and its dumps are gathered anew, or prune the sweep.")
    }
    if check?.jobFiles.isEmpty == false {
      Console.error("rollcall: A sweep whose job's files are damaged starts no more runs; begin a new one.")
    }
    throw ExitCode(Failure.unreadableInput)
  }
}
