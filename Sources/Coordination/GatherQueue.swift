import Gathering
import Transports

/// Gathers of one host: those of attempts that should have left no dumps go together, whatever has some goes by itself,
/// few at once.
///
/// Whoever finds nobody looking looks for all that wait, then hands that over to the next: nothing runs that nobody
/// waits for.
actor GatherQueue {
  struct Item: Sendable {
    var attempt: String
    /// On the host.
    var directory: String
    var sweep: String
    var run: String
  }

  private enum Word {
    /// nil: to be gathered by itself.
    case looked(Manifest?)
    /// Look for all who wait, yourself first.
    case look
  }

  private struct Waiting {
    var item: Item
    var continuation: CheckedContinuation<Word, Never>
  }

  private let transport: any Transport
  private let store: ArtifactStore
  private let board: GatherBoard
  /// Gathers of their own at once.
  private let limit: Int
  private var waiting: [Waiting] = []
  private var isLooking = false
  private var busy = 0
  private var queue: [CheckedContinuation<Void, Never>] = []

  /// What one command of a host takes for sure.
  private static let companyLimit = 256

  init(transport: any Transport, store: ArtifactStore, board: GatherBoard, limit: Int) {
    self.transport = transport
    self.store = store
    self.board = board
    self.limit = limit
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
    if isLooking {
      let word = await withCheckedContinuation { waiting.append(Waiting(item: item, continuation: $0)) }
      if case .looked(let manifest) = word {
        if let manifest { return manifest }
        return try await gather(item)
      }
    }
    isLooking = true
    // Others that were asked for in the same moment come along.
    for _ in 0..<4 { await Task.yield() }
    let parent = Self.parent(of: item)
    var company: [Waiting] = []
    waiting.removeAll { other in
      guard company.count < Self.companyLimit - 1, other.item.sweep == item.sweep,
        Self.parent(of: other.item) == parent
      else { return false }
      company.append(other)
      return true
    }
    let runs = ([item] + company.map(\.item)).map { ($0.attempt, $0.run) }
    // Whatever goes wrong is found out, and told, when each is gathered by itself.
    let found = try? await Gatherer().gatherDumpless(
      parent: parent, attempts: Dictionary(runs) { first, _ in first }, transport: transport, store: store,
      sweep: item.sweep)
    if waiting.isEmpty { isLooking = false } else { waiting.removeFirst().continuation.resume(returning: .look) }
    for other in company { other.continuation.resume(returning: .looked(found?[other.item.attempt])) }
    if let manifest = found?[item.attempt] { return manifest }
    return try await gather(item)
  }

  /// Gives the body one of few places.
  func alone<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
    if busy < limit { busy += 1 } else { await withCheckedContinuation { queue.append($0) } }
    defer { if queue.isEmpty { busy -= 1 } else { queue.removeFirst().resume() } }
    try Task.checkCancellation()
    return try await body()
  }

  private static func parent(of item: Item) -> String {
    item.directory.lastIndex(of: "/").map { String(item.directory[..<$0]) } ?? ""
  }
}
