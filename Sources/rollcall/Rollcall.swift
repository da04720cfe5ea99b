import ArgumentParser

@main
struct Rollcall: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rollcall",
    abstract: "Says whether an LLM engine's output is wrong, since when, at which world size, in which layer, and why.")
}
