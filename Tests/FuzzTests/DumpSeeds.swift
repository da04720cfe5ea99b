import Foundation
import TestSupport
import Testing

/// Files that torch.save wrote, whole and taken apart.
struct DumpSeeds {
  struct Seed {
    var whole: [UInt8]
    /// `data.pkl` of the file.
    var pickle: [UInt8]
    /// The other records, by name.
    var others: [(name: String, data: [UInt8])]
    /// First part of the records' names.
    var stem: String
  }

  var seeds: [Seed] = []

  /// Writes them with the tests' Python.
  static func make() async throws -> DumpSeeds {
    try await Scratch.with { scratch in
      let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Python/write_seeds.py").path
      try await runTool(warmPython, ["-W", "ignore", script, scratch.path])
      var result = DumpSeeds()
      let files = FileManager.default
      for name in try files.contentsOfDirectory(atPath: scratch.path).sorted() where name.hasSuffix(".pt") {
        let stem = String(name.dropLast(3))
        let folder = scratch.path("\(stem).records/\(stem)")
        var others: [(name: String, data: [UInt8])] = []
        var pickle: [UInt8] = []
        for record in try files.subpathsOfDirectory(atPath: folder).sorted() {
          guard let data = files.contents(atPath: "\(folder)/\(record)") else { continue }
          if record == "data.pkl" { pickle = Array(data) } else { others.append((record, Array(data))) }
        }
        try #require(!pickle.isEmpty)
        let whole = Array(try #require(files.contents(atPath: scratch.path(name))))
        result.seeds.append(Seed(whole: whole, pickle: pickle, others: others, stem: stem))
      }
      try #require(result.seeds.count > 4)
      return result
    }
  }
}

extension DumpSeeds.Seed {
  /// An honest zip around any pickle; no checksums are recorded.
  func file(pickle: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    var directory: [UInt8] = []
    for record in [(name: "data.pkl", data: pickle)] + others {
      let name = Array("\(stem)/\(record.name)".utf8)
      let start = bytes.count
      bytes += little(0x0403_4B50, 4) + little(0, 2) + little(0x0800, 2) + little(0, 10)
      bytes += little(record.data.count, 4) + little(record.data.count, 4) + little(name.count, 2) + little(0, 2)
      bytes += name + record.data
      directory += little(0x0201_4B50, 4) + little(0, 4) + little(0x0800, 2) + little(0, 10)
      directory += little(record.data.count, 4) + little(record.data.count, 4) + little(name.count, 2)
      directory += little(0, 12) + little(start, 4) + name
    }
    let place = bytes.count
    let count = others.count + 1
    bytes += directory + little(0x0605_4B50, 4) + little(0, 4) + little(count, 2) + little(count, 2)
    return bytes + little(directory.count, 4) + little(place, 4) + little(0, 2)
  }
}

private func little(_ value: Int, _ count: Int) -> [UInt8] {
  (0..<count).map { $0 < 8 ? UInt8((value >> (8 * $0)) & 255) : 0 }
}
