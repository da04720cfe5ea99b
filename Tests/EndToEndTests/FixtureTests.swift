import Foundation
import TestSupport
import Testing

/// The files in `Tests/Fixtures`, written by several versions of PyTorch, by safetensors and by numpy, hold what these
/// said when they wrote them (`make_fixtures.py`, `expected.json`).
@Suite struct FixtureTests {
  private struct Expected: Decodable {
    struct File: Decodable {
      var tensors: [Facts]?
      var scalars: [String: Plain]?
      /// A word of the reason for each value that is passed over.
      var skipped: [String: String]?
      /// A word of the error for the whole file.
      var refused: String?
    }

    struct Facts: Decodable, Equatable {
      var name: String
      var dtype: String
      var shape: [Int]
      var stride: [Int]
      var offset: Int
      var numel: Int
      var sum: Double?
      var absMax: Double?
      var nonfinite: Int
      var sha256: String

      private enum CodingKeys: String, CodingKey {
        case name
        case dtype
        case shape
        case stride
        case offset
        case numel
        case sum
        case absMax = "abs_max"
        case nonfinite
        case sha256
      }
    }

    var writer: [String: String]
    var files: [String: File]
  }

  /// A plain value of JSON.
  private enum Plain: Decodable, Equatable {
    case none
    case bool(Bool)
    case number(Double)
    case text(String)

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if container.decodeNil() {
        self = .none
      } else if let flag = try? container.decode(Bool.self) {
        self = .bool(flag)
      } else if let number = try? container.decode(Double.self) {
        self = .number(number)
      } else {
        self = .text(try container.decode(String.self))
      }
    }
  }

  private struct Listing: Decodable {
    struct Opaque: Decodable {
      var name: String
      var why: String
      var damaged: Bool
    }

    struct NamedPlain: Decodable {
      var name: String
      var value: Plain

      init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        name = try container.decode(String.self, forKey: .name)
        value = try container.decodeNil(forKey: .value) ? .none : container.decode(Plain.self, forKey: .value)
      }

      private enum CodingKeys: CodingKey {
        case name
        case value
      }
    }

    var schema: String
    var tensors: [Expected.Facts]
    var scalars: [NamedPlain]
    var opaque: [Opaque]
  }

  private static let root = RollcallBinary.repository + "/Tests/Fixtures"
  /// The scripts beside them are no folders; `mixes` has runs for the scheduler and no dumps.
  private static let folders =
    ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []).sorted().filter {
      !$0.hasSuffix(".py") && !$0.hasSuffix(".sh") && $0 != "mixes"
    }

  @Test("the fixtures come from torch 1.13 to 2.15 and from safetensors and numpy")
  func fixturesAreThere() throws {
    #expect(Self.folders == ["formats", "torch-1.13", "torch-2.13", "torch-2.15", "torch-2.4"])
    for folder in Self.folders where folder != "formats" {
      let version = try expected(folder).writer["torch"] ?? ""
      #expect("torch-\(version)".hasPrefix(folder + "."), "\(folder) was written by \(version)")
    }
  }

  @Test("every fixture holds what its writer said", arguments: folders)
  func agreesWithItsWriter(folder: String) async throws {
    let expected = try expected(folder)
    let files = try FileManager.default.contentsOfDirectory(atPath: "\(Self.root)/\(folder)")
    #expect(Set(files).subtracting(["expected.json"]) == Set(expected.files.keys), "each file has its expectation")
    try await Scratch.with { scratch in
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      for (file, want) in expected.files.sorted(by: { $0.key < $1.key }) {
        let label = Comment("\(folder)/\(file)")
        let outcome = try await rollcall("inspect", "\(Self.root)/\(folder)/\(file)", "--stats", "--json")
        if let words = want.refused {
          #expect(outcome.status == 65, label)
          #expect(outcome.errorOutput.contains(words), label)
          continue
        }
        #expect(outcome.status == 0, "\(folder)/\(file): \(outcome.errorOutput)")
        let listing = try JSONDecoder().decode(Listing.self, from: Data(outcome.output.utf8))
        compare(listing.tensors, want.tensors ?? [], "\(folder)/\(file)")
        let scalars = Dictionary(uniqueKeysWithValues: listing.scalars.map { ($0.name, $0.value) })
        #expect(scalars == want.scalars, label)
        let skipped = want.skipped ?? [:]
        #expect(Set(listing.opaque.map(\.name)) == Set(skipped.keys), label)
        for value in listing.opaque {
          #expect(value.why.contains(skipped[value.name] ?? "?"), "\(folder)/\(file) \(value.name): \(value.why)")
          #expect(!value.damaged, label)
        }
      }
      // What the hostile files would run.
      for place in [scratch.path, "\(Self.root)/\(folder)"] {
        #expect(!FileManager.default.fileExists(atPath: place + "/fixture-payload-ran"))
      }
    }
  }

  private func compare(_ found: [Expected.Facts], _ want: [Expected.Facts], _ file: String) {
    #expect(found.map(\.name) == want.map(\.name), "\(file)")
    for (found, want) in zip(found, want) {
      var (a, b) = (found, want)
      (a.sum, b.sum) = (nil, nil)
      // In an archive the offset is counted from the record, which begins with the array's header.
      if file.hasSuffix(".npz") { a.offset = 0 }
      #expect(a == b, "\(file) \(want.name)")
      switch (found.sum, want.sum) {
      case (nil, nil): break
      case (let x?, let y?):
        // Relative to the largest term, for terms may cancel.
        let scale = max(abs(y), want.absMax ?? 0)
        #expect(abs(x - y) <= 1e-12 * scale, "\(file) \(want.name): sum \(x), torch says \(y)")
      default: Issue.record("\(file) \(want.name): sum \(String(describing: found.sum)), torch says otherwise")
      }
    }
  }

  private func expected(_ folder: String) throws -> Expected {
    let data = try Data(contentsOf: URL(fileURLWithPath: "\(Self.root)/\(folder)/expected.json"))
    return try JSONDecoder().decode(Expected.self, from: data)
  }
}
