import Foundation
import TensorKernels
import TestSupport
import Testing

@Suite("Checksums")
struct ChecksumTests {
  /// What zlib says of pieces of the same bytes at any start, length and seed.
  private struct Answer: Decodable {
    var data: [UInt8]
    /// Start, end, seed, checksum.
    var pieces: [[Int]]
  }

  private static func answer() async throws -> Answer {
    let code = """
      import json, random, sys, zlib
      random.seed(7)
      data = random.randbytes(70000)
      pieces = []
      lengths = [0, 1, 255, 256, 257, 1023, 1024, 1025, 1279, 1280, 1281, 2048, 65536] + [
          random.randrange(5000) for _ in range(600)]
      for length in lengths:
          start = random.randrange(4000)
          seed = random.choice([0, 1, 2**32 - 1, random.randrange(2**32)])
          pieces.append([start, start + length, seed, zlib.crc32(data[start:start + length], seed)])
      json.dump({"data": list(data), "pieces": pieces}, sys.stdout)
      """
    return try JSONDecoder().decode(Answer.self, from: Data(try await runPython(code).output.utf8))
  }

  @Test("every loop that this machine runs gives zlib's")
  func loops() async throws {
    let answer = try await Self.answer()
    #expect(ChecksumLoop.available.first == .library && ChecksumLoop.available.last == .current)
    for loop in ChecksumLoop.available {
      for piece in answer.pieces {
        let (range, seed) = (piece[0]..<piece[1], UInt32(piece[2]))
        let found = answer.data[range].withUnsafeBytes { Kernels.crc32($0, continuing: seed, by: loop) }
        #expect(found == UInt32(piece[3]), "\(loop): bytes \(range), seed \(seed)")
      }
    }
  }

  @Test("each loop goes on where another left off, and checksums of parts join")
  func splits() async throws {
    let data = try await Self.answer().data
    var random = SystemRandomNumberGenerator()
    let whole = data.withUnsafeBytes { Kernels.crc32($0, continuing: 0, by: .library) }
    for first in ChecksumLoop.available {
      for second in ChecksumLoop.available {
        let cut = Int.random(in: 0...data.count, using: &random)
        let head = data[..<cut].withUnsafeBytes { Kernels.crc32($0, continuing: 0, by: first) }
        let all = data[cut...].withUnsafeBytes { Kernels.crc32($0, continuing: head, by: second) }
        #expect(all == whole, "\(first), \(second), cut at \(cut)")
        let tail = data[cut...].withUnsafeBytes { Kernels.crc32($0, continuing: 0, by: second) }
        #expect(Kernels.crc32Combined(first: head, second: tail, secondByteCount: data.count - cut) == whole)
      }
    }
  }
}
