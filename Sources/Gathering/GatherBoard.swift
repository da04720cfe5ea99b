import FoundationEssentials
import Glibc
import Synchronization

/// How far the gathers of a store are, and which hosts still owe an answer, for other processes:
/// `<store>/gathering.json`, written anew each second while there is any of it. It is a view alone, and need not outlive a
/// power cut. All coordinators of a store have one board.
public final class GatherBoard: Sendable {
  public struct Entry: Sendable, Hashable, Codable {
    public var sweep: String
    public var run: String
    /// Or the share, of a gang.
    public var attempt: String
    /// Dump bytes that are in the store.
    public var bytes: Int
    /// Dump bytes that the host has.
    public var total: Int
    /// Bytes a second, of late.
    public var rate: Double
  }

  /// A host that was asked how it stands and has not answered yet.
  public struct Silence: Sendable, Hashable, Codable {
    public var host: String
    public var sweeps: [String]
    /// Since it was asked.
    public var seconds: Double

    public init(host: String, sweeps: [String], seconds: Double) {
      self.host = host
      self.sweeps = sweeps
      self.seconds = seconds
    }
  }

  /// What the file holds.
  public struct View: Sendable, Hashable, Codable {
    public var gathers: [Entry] = []
    public var silences: [Silence] = []

    public init() {}
  }

  private struct Gather {
    var entry: Entry
    var meter: GatherMeter
    var measured: ContinuousClock.Instant
  }

  private let path: String
  private let gathers = Mutex<[String: Gather]>([:])
  /// By the coordinator that waits.
  private let silences = Mutex<[ObjectIdentifier: [Silence]]>([:])

  public init(store: String) {
    path = Self.path(store)
  }

  /// Counts a gather until the body ends.
  public func during<Value: Sendable>(
    sweep: String, run: String, attempt: String, isolation: isolated (any Actor)? = #isolation,
    _ body: (GatherMeter) async throws -> Value
  ) async rethrows -> Value {
    let meter = GatherMeter()
    let entry = Entry(sweep: sweep, run: run, attempt: attempt, bytes: 0, total: 0, rate: 0)
    gathers.withLock { $0[attempt] = Gather(entry: entry, meter: meter, measured: .now) }
    defer { gathers.withLock { $0[attempt] = nil } }
    return try await body(meter)
  }

  /// Takes the hosts that owe a coordinator an answer, in the place of those it last named.
  public func note(_ silent: [Silence], by coordinator: some AnyObject) {
    let id = ObjectIdentifier(coordinator)
    silences.withLock { $0[id] = silent.isEmpty ? nil : silent }
  }

  /// Writes the file each second until the task is cancelled, which one task does; takes away what a coordinator that
  /// was killed left.
  public func keep() async {
    unlink(path)
    var stands = false
    while (try? await Task.sleep(for: .seconds(1))) != nil {
      var view = View()
      view.gathers = measure()
      view.silences = silences.withLock { $0.values.flatMap { $0 } }
      let isEmpty = view == View()
      guard stands || !isEmpty else { continue }
      // A store that is full has been told of by the gather itself.
      let isWritten =
        (try? FileSystem.replace(path, with: [UInt8](JSONEncoder().encode(view)), durably: false)) != nil
      stands = isWritten && !isEmpty
    }
    unlink(path)
  }

  /// What a coordinator has written; empty where there is none, and what cannot be read counts as none.
  public static func view(store: String) -> View {
    guard let facts = try? FileSystem.status(path(store)), FileSystem.isRegular(facts), facts.st_size <= 16 << 20,
      let data = try? Data(contentsOf: URL(filePath: path(store)))
    else { return View() }
    return (try? JSONDecoder().decode(View.self, from: data)) ?? View()
  }

  private static func path(_ store: String) -> String { store + "/gathering.json" }

  /// Those whose files the host has listed.
  private func measure() -> [Entry] {
    gathers.withLock { gathers in
      for (attempt, gather) in gathers {
        let (bytes, total) = gather.meter.figures
        let elapsed = (ContinuousClock.now - gather.measured) / .seconds(1)
        var entry = gather.entry
        entry.rate = elapsed > 0 ? max(0, Double(bytes - entry.bytes) / elapsed) : 0
        (entry.bytes, entry.total) = (bytes, total)
        gathers[attempt] = Gather(entry: entry, meter: gather.meter, measured: .now)
      }
      return gathers.values.map(\.entry).filter { $0.total > 0 }.sorted { $0.attempt < $1.attempt }
    }
  }
}
