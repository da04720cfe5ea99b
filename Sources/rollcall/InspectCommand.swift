import ArgumentParser
import Dumps
import Foundation
import Reporting

/// `rollcall inspect PATH`: what stands in a dump file, or in all files of a directory.
struct InspectCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show what a dump file, or every dump file of a directory, holds.",
    discussion: """
      Reads the files without running anything in them. Values that are no tensors and no plain data are listed by the \
      name of their class.

      Exit code 65 where a file or a value is damaged; all others are shown.

      Example: rollcall inspect --stats dumps/layer00_Block_rank0.pt
      """)

  @Argument(
    help: "A file of torch.save, safetensors or numpy, or a directory of them.",
    completion: .file(extensions: ["pt", "pth", "bin", "safetensors", "npy", "npz", "json"]))
  var path: String

  @Flag(help: "Read the elements too: sum, largest magnitude, non-finite count, SHA-256.")
  var stats = false

  @Flag(help: "Print one JSON document.")
  var json = false

  var wantsJSON: Bool { json }

  func run() async throws {
    var isDirectory: ObjCBool = false
    let listing: DumpListing
    if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue {
      listing = try directory()
    } else {
      listing = DumpListing(path: path, files: [try file(path, called: path)], unreadable: [], others: [])
    }
    Console.print(json ? try JSONText.of(listing) : Plain.block(listing.text))
    let damage = listing.damage
    guard damage.isEmpty else {
      for line in damage { Console.error("rollcall: \(line)") }
      throw ExitCode(Failure.unreadableInput)
    }
  }

  private func directory() throws(DumpError) -> DumpListing {
    let folder = try DumpFolder(path)
    guard !folder.files.isEmpty || !folder.indexes.isEmpty || !folder.unreadable.isEmpty else {
      throw DumpError(
        code: .noDumps, file: path, message: "holds no .pt, .safetensors, .npy or .npz file; did you mean the parent?")
    }
    var listing = DumpListing(path: path, files: [], unreadable: folder.unreadable, others: folder.others)
    for name in folder.files {
      do throws(DumpError) {
        listing.files.append(try file("\(path)/\(name)", called: name))
      } catch {
        listing.unreadable.append(Unreadable(file: name, why: error.reason))
      }
    }
    // The shards show their tensors themselves; an index adds what contradicts it.
    for name in folder.indexes {
      do throws(DumpError) {
        let skipped = try DumpFileReader.read(path: "\(path)/\(name)", verifyChecksums: false).skipped
        if !skipped.isEmpty { listing.files.append(FileListing(file: name, skipped: skipped)) }
      } catch {
        listing.unreadable.append(Unreadable(file: name, why: error.reason))
      }
    }
    return listing
  }

  private func file(_ path: String, called name: String) throws(DumpError) -> FileListing {
    let dump = try DumpFileReader.read(path: path)
    var listing = FileListing(file: name, scalars: dump.scalars, skipped: dump.skipped)
    let total = stats ? dump.tensors.reduce(0) { $0 &+ $1.elementCount &* $1.dtype.byteCount } : 0
    let progress = ByteProgress()
    defer { progress.end() }
    var done = 0
    for tensor in dump.tensors {
      var statistics: TensorStatistics?
      if stats {
        do throws(DumpError) {
          statistics = try TensorStatistics(tensor) { count in
            done &+= count
            progress.show("\(name): \(tensor.name)", done: done, total: total)
          }
        } catch {
          listing.skipped.append(SkippedValue(name: tensor.name, why: error.reason, isDamaged: true))
        }
      }
      listing.tensors.append(TensorListing(tensor, file: name, statistics: statistics))
    }
    return listing
  }
}

/// One JSON document with sorted keys.
enum JSONText {
  static func of(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }
}
