import Dumps
import Foundation
import TestSupport
import Testing

/// Mutated headers, names and indexes of every other format. Whatever a directory holds is read or named.
///
/// The peak resident memory of a campaign may grow by 64 MiB, where pickles are read by 256 MiB.
extension FuzzTests {
  @Test func safetensorsHeaders() async throws {
    let seeds = try await LayoutSeeds("safetensors").data(".safetensors")
    try Campaign(name: "safetensors", count: 1_500, suffix: ".safetensors").run { mutator in
      var bytes = mutator.pick(seeds)
      damageHeader(&bytes, length: 8, words: jsonWords, seeds, &mutator)
      return bytes
    } check: { path in
      try readDump(path)
    }
  }

  @Test func safetensorsIndexes() async throws {
    let seeds = try await LayoutSeeds("index")
    let indexes = seeds.data(".json")
    let scratch = try Scratch()
    defer { scratch.remove() }
    for file in seeds.files { try scratch.write(file.name, file.data) }
    let name = "model.safetensors.index.json"
    try Campaign(name: "index", count: 600).run { mutator in
      var bytes = mutator.pick(indexes)
      mutator.damage(&bytes, words: jsonWords, donors: indexes)
      return bytes
    } check: { path in
      try scratch.write(name, Array(Data(contentsOf: URL(fileURLWithPath: path))))
      // The index itself is no dump. A tensor that it does not name is refused, by its name.
      guard try loadDirectory(scratch.path, .safetensors, besides: [name]) != nil else {
        throw BrokenPromise(description: "the directory was refused")
      }
      return try readDump(scratch.path(name))
    }
  }

  @Test func npyHeaders() async throws {
    let seeds = try await LayoutSeeds("numpy").data(".npy")
    try Campaign(name: "npy", count: 2_000).run { mutator in
      var bytes = mutator.pick(seeds)
      damageHeader(&bytes, length: 10, words: npyWords, seeds, &mutator)
      return bytes
    } check: { path in
      try readDump(path)
    }
  }

  @Test func npzDirectories() async throws {
    let seeds = try await LayoutSeeds("numpy").data(".npz")
    try Campaign(name: "npz", count: 800).run { mutator in
      var bytes = mutator.pick(seeds)
      if mutator.int(0..<2) == 0 {
        for _ in 0..<mutator.int(1..<4) { rewriteField(&bytes, &mutator) }
      } else {
        mutator.damage(&bytes, words: npyWords + zipSignatures, donors: seeds)
      }
      return bytes
    } check: { path in
      try readDump(path)
    }
  }

  @Test func sglangFiles() async throws {
    let seeds = try await LayoutSeeds("sglang").files.map { Array($0.name.utf8) + [0x0A] + $0.data }
    let honest = try #require(try await LayoutSeeds("sglang").files.first)
    try Campaign(name: "sglang", count: 800, memoryBound: 256 << 20).run { mutator in
      // The name, a line feed, the file.
      var bytes = mutator.pick(seeds)
      let end = bytes.firstIndex(of: 0x0A) ?? 0
      var name = Array(bytes[..<end])
      var content = Array(bytes[(end + 1)...])
      if mutator.int(0..<3) > 0 { mutator.damage(&name, words: tagWords, donors: [name]) }
      if mutator.int(0..<3) == 0 { mutator.damage(&content, words: pickleWords, donors: [content]) }
      name.removeAll { $0 == 0x0A }
      bytes = name + [0x0A] + content
      return bytes
    } check: { path in
      let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
      let end = bytes.firstIndex(of: 0x0A) ?? bytes.count
      let scratch = try Scratch()
      defer { scratch.remove() }
      // Folders of steps are no two runs, whose files would all be refused.
      try scratch.write("step0/" + honest.name, honest.data)
      // A name that the file system refuses is no input; one with a slash makes its folders.
      guard let name = String(validating: bytes[..<end], as: UTF8.self), !name.contains("\0"),
        name.split(separator: "/").allSatisfy({ $0 != ".." && $0 != "." && $0.utf8.count < 256 }), !name.isEmpty,
        !name.hasSuffix("/"), name.utf8.count < 1000
      else { return false }
      let file = scratch.path("step1/" + name)
      try FileManager.default.createDirectory(
        atPath: URL(fileURLWithPath: file).deletingLastPathComponent().path, withIntermediateDirectories: true)
      try Data(bytes[min(end + 1, bytes.count)...]).write(to: URL(fileURLWithPath: file))
      guard let captures = try loadDirectory(scratch.path, .sglang), captures > 0 else {
        throw BrokenPromise(description: "the sound file beside it is lost")
      }
      _ = try? DumpSetLoader.detectLayout(directory: scratch.path)
      return captures > 1
    }
  }

  @Test func msprobeIndexes() async throws {
    let seeds = try await LayoutSeeds("msprobe")
    let indexes = seeds.data(".json")
    let scratch = try Scratch()
    defer { scratch.remove() }
    let folder = "step0/rank0"
    for file in seeds.files where file.name.hasSuffix(".pt") {
      try scratch.write("\(folder)/dump_tensor_data/\(file.name)", file.data)
    }
    let tensors = seeds.data(".pt").count
    try Campaign(name: "msprobe", count: 600).run { mutator in
      var bytes = mutator.pick(indexes)
      mutator.damage(&bytes, words: jsonWords, donors: indexes)
      return bytes
    } check: { path in
      try scratch.write("\(folder)/dump.json", Array(Data(contentsOf: URL(fileURLWithPath: path))))
      let captures = try loadDirectory(scratch.path, .msprobe, besides: ["\(folder)/dump.json"])
      guard let captures else { throw BrokenPromise(description: "the directory was refused") }
      return captures == tensors
    }
  }

  @Test func huggingFaceTrees() async throws {
    let seeds = try await LayoutSeeds("huggingface")
    let trees = seeds.data(".json")
    let scratch = try Scratch()
    defer { scratch.remove() }
    let name = "LlamaForCausalLM_debug_tree_FULL_TENSORS.json"
    let tensors = seeds.files.filter { $0.name.hasSuffix(".safetensors") }
    for file in tensors { try scratch.write("rank_1/\(file.name)", file.data) }
    for tree in trees {
      // The seeds themselves are sound: every file stands in the tree or beside it.
      try scratch.write("rank_1/\(name)", tree)
      let captures = try loadDirectory(scratch.path, .huggingFace, besides: ["rank_1/\(name)"])
      #expect(captures == tensors.count)
    }
    try Campaign(name: "huggingface", count: 1_000).run { mutator in
      var bytes = mutator.pick(trees)
      mutator.damage(&bytes, words: jsonWords + treeWords, donors: trees)
      return bytes
    } check: { path in
      try scratch.write("rank_1/\(name)", Array(Data(contentsOf: URL(fileURLWithPath: path))))
      let captures = try loadDirectory(scratch.path, .huggingFace, besides: ["rank_1/\(name)"])
      guard let captures else { throw BrokenPromise(description: "the directory was refused") }
      return captures == tensors.count
    }
  }

  @Test func huggingFaceFileNames() async throws {
    let seeds = try await LayoutSeeds("huggingface")
    let tree = try #require(seeds.files.first { $0.name == "full.json" }).data
    let tensors = seeds.files.filter { $0.name.hasSuffix(".safetensors") }
    let donors = tensors.map { Array($0.name.utf8) }
    try Campaign(name: "huggingface-names", count: 400).run { mutator in
      var name = mutator.pick(donors)
      mutator.damage(&name, words: placeWords, donors: donors)
      name.removeAll { $0 == 0x2F || $0 == 0 }
      return name
    } check: { path in
      let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
      // A name that the file system refuses is no input.
      guard let name = String(validating: bytes, as: UTF8.self), !name.isEmpty, name != ".", name != "..",
        name.utf8.count < 256
      else { return false }
      let scratch = try Scratch()
      defer { scratch.remove() }
      try scratch.write("LlamaForCausalLM_debug_tree_FULL_TENSORS.json", tree)
      for file in tensors { try scratch.write(file.name, file.data) }
      let file = try #require(tensors.first)
      let isNew = !tensors.contains { $0.name == name }
      if isNew { try scratch.write(name, file.data) }
      let captures = try loadDirectory(
        scratch.path, .huggingFace, besides: ["LlamaForCausalLM_debug_tree_FULL_TENSORS.json"])
      guard let captures, captures >= tensors.count else {
        throw BrokenPromise(description: "the sound files beside it are lost")
      }
      return isNew && captures > tensors.count
    }
  }

  /// Mostly in the header, whose length stands before it.
  private func damageHeader(
    _ bytes: inout [UInt8], length: Int, words: [[UInt8]], _ donors: [[UInt8]], _ mutator: inout Mutator
  ) {
    guard mutator.int(0..<4) > 0 else { return mutator.damage(&bytes, words: words, donors: donors) }
    // Up to the first byte after the text that is no character of one.
    let end = bytes.dropFirst(length + 2).firstIndex { $0 < 0x09 || $0 > 0x7E } ?? bytes.count
    var header = Array(bytes[length..<max(end, length)])
    let rest = Array(bytes[max(end, length)...])
    let old = header.count
    mutator.damage(&header, words: words, donors: donors)
    var start = Array(bytes[..<length])
    // The length follows mostly; the header is then looked at as a whole.
    if mutator.int(0..<4) > 0 {
      let at = length == 8 ? 0 : 8
      let width = length == 8 ? 8 : 2
      var value = (0..<width).reduce(0) { $0 | Int(start[at + $1]) << (8 * $1) }
      value = max(0, value &+ header.count &- old)
      for i in 0..<width { start[at + i] = UInt8(truncatingIfNeeded: value >> (8 * i)) }
    }
    bytes = start + header + rest
  }
}
