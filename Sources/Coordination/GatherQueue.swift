import Gathering
import Launching
import OrderedCollections
import Transports

/// Gathers of one host: those of attempts that should have left no dumps go together, whatever has some goes by itself,
/// few at once.
actor GatherQueue {
  struct Item: Sendable {
    var attempt: String
    /// On the host.
    var directory: String
    var sweep: String
    var run: String

    fileprivate var parent: String { directory.lastIndex(of: "/").map { String(directory[..<$0]) } ?? "" }
  }

  /// Attempts of one sweep, side by side on the host.
  private struct Company: SendBatch {
    private(set) var items: [Item] = []

    mutating func add(_ item: Item) -> Bool {
      if let first = items.first {
        guard items.count < GatherQueue.companyLimit, item.sweep == first.sweep, item.parent == first.parent else {
          return false
        }
      }
      items.append(item)
      return true
    }
  }

  private let transport: any Transport
  private let store: ArtifactStore
  private let board: GatherBoard
  /// Gathers of their own at once.
  private let limit: Int
  /// nil: to be gathered by itself.
  private let looks: SendQueue<Company, Manifest?>
  private var busy = 0
  /// In the order of their coming.
  private var queue: OrderedDictionary<Int, CheckedContinuation<Bool, Never>> = [:]
  private var lastPlace = 0

  /// What one command of a host takes for sure.
  private static let companyLimit = 256

  init(transport: any Transport, store: ArtifactStore, board: GatherBoard, limit: Int) {
    self.transport = transport
    self.store = store
    self.board = board
    self.limit = limit
    looks = SendQueue(
      begin: { _ in Company() },
      send: { company in
        guard let first = company.items.first else { return [] }
        // Whatever goes wrong is found out, and told, when each is gathered by itself.
        let found = try? await Gatherer().gatherDumpless(
          parent: first.parent, attempts: Dictionary(company.items.map { ($0.attempt, $0.run) }) { first, _ in first },
          transport: transport, store: store, sweep: first.sweep)
        return company.items.map { .success(found?[$0.attempt]) }
      })
  }

  /// Gathers one attempt alone.
  func gather(_ item: Item) async throws -> Manifest {
    try await alone {
      try await board.during(sweep: item.sweep, run: item.run, attempt: item.attempt) { meter in
        try await Gatherer(meter: meter).gather(
          attemptDirectory: item.directory, transport: transport, store: store, sweep: item.sweep, run: item.run
        ).manifest
      }
    }
  }

  /// Gathers one attempt that should have left no dumps.
  func gatherDumpless(_ item: Item) async throws -> Manifest {
    if let manifest = try await looks.send(item) { return manifest }
    return try await gather(item)
  }

  /// Gives the body one of few places.
  func alone<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
    if busy < limit { busy += 1 } else { try await place() }
    defer { if queue.isEmpty { busy -= 1 } else { queue.removeFirst().value.resume(returning: true) } }
    try Task.checkCancellation()
    return try await body()
  }

  /// Waits for a place that somebody leaves.
  /// - Throws: `CancellationError` at once where it is waited for no longer.
  private func place() async throws {
    lastPlace += 1
    let place = lastPlace
    let isGiven = await withTaskCancellationHandler {
      await withCheckedContinuation { queue[place] = $0 }
    } onCancel: {
      // Comes after it stands in the queue, since until then this queue is at work.
      Task { await self.leave(place) }
    }
    guard isGiven else { throw CancellationError() }
  }

  private func leave(_ place: Int) { queue.removeValue(forKey: place)?.resume(returning: false) }
}
