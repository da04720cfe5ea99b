import Synchronization
import TensorKernels

/// Checks storages against the CRC-32 recorded for them while others read them, so that no byte is read twice.
///
/// Readers note the checksum of each piece as they pass it (``TensorReader``). ``verify(_:)`` then joins the pieces;
/// where they do not cover a storage from end to end, it reads what is missing: all of it.
public final class StorageAudit: Sendable {
  /// Pieces of a storage by their first byte, neighbours joined.
  private struct Tally {
    var pieces: [Int: (end: Int, crc: UInt32)] = [:]

    mutating func add(_ range: Range<Int>, crc: UInt32) {
      var (start, end, crc) = (range.lowerBound, range.upperBound, crc)
      if let next = pieces.removeValue(forKey: end) {
        crc = Kernels.crc32Combined(first: crc, second: next.crc, secondByteCount: next.end - end)
        end = next.end
      }
      // Few pieces stand open: as many as there are readers.
      if let (first, piece) = pieces.first(where: { $0.value.end == start }) {
        crc = Kernels.crc32Combined(first: piece.crc, second: crc, secondByteCount: end - start)
        start = first
      }
      pieces[start] = (end, crc)
    }

    /// The checksum of the whole storage; nil where a piece is missing.
    func crc(byteCount: Int) -> UInt32? {
      guard let piece = pieces[0], piece.end == byteCount else { return nil }
      return piece.crc
    }
  }

  private enum State {
    case reading(Tally)
    case sound
    case damaged(DumpError)
  }

  private let states = Mutex<[StorageRegion: State]>([:])

  public init() {}

  /// Notes the checksum of a piece that was read.
  ///
  /// - Parameter bytes: counted from the storage's first byte.
  func note(_ storage: StorageRegion, _ bytes: Range<Int>, crc: UInt32) {
    states.withLock { states in
      guard case .reading(var tally) = states.removeValue(forKey: storage) ?? .reading(Tally()) else { return }
      tally.add(bytes, crc: crc)
      states[storage] = .reading(tally)
    }
  }

  /// - Throws: where the bytes do not fit the recorded checksum, or cannot be read. No recorded checksum: nothing.
  public func verify(_ storage: StorageRegion) throws(DumpError) {
    guard let recorded = storage.checksum else { return }
    var known: UInt32?
    switch states.withLock({ $0[storage] }) {
    case .sound: return
    case .damaged(let error): throw error
    case .reading(let tally): known = tally.crc(byteCount: storage.byteCount)
    case nil: break
    }
    let outcome: State
    do throws(DumpError) {
      let found =
        if let known { known } else {
          try FileHandle(path: storage.path).checksum(offset: storage.offset, byteCount: storage.byteCount)
        }
      outcome =
        found == recorded
        ? .sound
        : .damaged(
          .checksumMismatch(file: storage.path, offset: storage.offset, recorded: recorded, found: found))
    } catch {
      outcome = .damaged(error)
    }
    states.withLock { $0[storage] = outcome }
    if case .damaged(let error) = outcome { throw error }
  }
}
