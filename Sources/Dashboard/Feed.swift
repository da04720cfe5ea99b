import Foundation
import Ledger
import OrderedCollections
import Synchronization

/// Whether some process coordinates the store, asked at most once a second: to ask is to hold its lock for a moment, and
/// many readers must not keep a coordinator from it.
final class CoordinatorWatch: Sendable {
  private let store: String
  private let known = Mutex<(taken: ContinuousClock.Instant, isHeld: Bool)?>(nil)

  init(store: String) { self.store = store }

  var isHeld: Bool {
    known.withLock { known in
      let now = ContinuousClock.now
      if let known, now - known.taken < .seconds(1) { return known.isHeld }
      let isHeld = StoreLock.isHeld(store: store)
      known = (now, isHeld)
      return isHeld
    }
  }
}

/// Pages and their changing parts, made at most twice a second however many readers there are.
actor Feed {
  struct Frame: Sendable {
    var parts: OrderedDictionary<String, String>
    var hasEnded: Bool
  }

  private let ledger: SweepLedger
  private let watch: CoordinatorWatch
  private var pages: [String: (taken: ContinuousClock.Instant, html: String)] = [:]
  private var making: [String: Task<String, Never>] = [:]
  private var frames: [String: (taken: ContinuousClock.Instant, frame: Frame)] = [:]
  private var readers = 0

  /// Streams at once; who comes later reads without them.
  static let readerLimit = 120

  /// How long what was read is shown.
  private static let freshness = Duration.milliseconds(500)

  init(ledger: SweepLedger, watch: CoordinatorWatch) {
    self.ledger = ledger
    self.watch = watch
  }

  /// The page of this name, made anew where it is no longer fresh.
  func page(_ name: String, _ make: @Sendable () throws -> String) rethrows -> String {
    if let html = page(name) { return html }
    let html = try make()
    keep(html, as: name)
    return html
  }

  /// The same for a page that takes a while: who asks for it meanwhile waits for the same one.
  func shared(_ name: String, _ make: @escaping @Sendable () async -> String) async -> String {
    if let html = page(name) { return html }
    if let task = making[name] { return await task.value }
    // Belongs to all who wait for it: none of them ends it by leaving.
    let task = Task { await make() }
    making[name] = task
    let html = await task.value
    making[name] = nil
    keep(html, as: name)
    return html
  }

  /// The page, where it has just been made.
  private func page(_ name: String) -> String? {
    guard let known = pages[name], ContinuousClock.now - known.taken < Self.freshness else { return nil }
    return known.html
  }

  private func keep(_ html: String, as name: String) {
    let now = ContinuousClock.now
    pages = pages.filter { now - $0.value.taken < Self.freshness }
    pages[name] = (now, html)
  }

  /// Something was changed: nobody is shown what was before.
  func forget() {
    pages = [:]
    frames = [:]
  }

  func frame(of sweep: String) throws -> Frame {
    let now = ContinuousClock.now
    if let known = frames[sweep], now - known.taken < Self.freshness { return known.frame }
    frames = frames.filter { now - $0.value.taken < .seconds(5) }
    let view = try SweepView(
      ledger, try ledger.sweep(named: sweep), isCoordinated: watch.isHeld, now: Date().timeIntervalSince1970)
    let frame = Frame(parts: try SweepPage(view: view, ledger).parts, hasEnded: view.sweep.ended != nil)
    frames[sweep] = (now, frame)
    return frame
  }

  /// False where there are too many streams.
  func enter() -> Bool {
    guard readers < Self.readerLimit else { return false }
    readers += 1
    return true
  }

  func leave() { readers -= 1 }
}
