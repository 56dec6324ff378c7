/** The command line itself is wrong: exit status 2, and a hint where the help is. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}
