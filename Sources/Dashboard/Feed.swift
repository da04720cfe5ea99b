import Foundation
import Ledger
import OrderedCollections

/// The changing parts of sweeps' pages, read at most twice a second however many readers there are.
actor Feed {
  struct Frame: Sendable {
    var parts: OrderedDictionary<String, String>
    var hasEnded: Bool
  }

  private let ledger: SweepLedger
  private let store: String
  private var frames: [String: (taken: ContinuousClock.Instant, frame: Frame)] = [:]
  private var readers = 0

  /// Streams at once; who comes later reads without them.
  static let readerLimit = 120

  init(ledger: SweepLedger, store: String) {
    self.ledger = ledger
    self.store = store
  }

  func frame(of sweep: String) throws -> Frame {
    let now = ContinuousClock.now
    if let known = frames[sweep], now - known.taken < .milliseconds(500) { return known.frame }
    frames = frames.filter { now - $0.value.taken < .seconds(5) }
    let view = try SweepView(
      ledger, try ledger.sweep(named: sweep), store: store, now: Date().timeIntervalSince1970)
    let frame = Frame(parts: SweepPage(view: view).parts, hasEnded: view.sweep.ended != nil)
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
