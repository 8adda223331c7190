terraform {
  required_version = ">= 1.9" # validations that look at other variables

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Not 6: from there on Terraform may not end an instance that is protected from termination, and the replacement of a broker needs that.
      version = "~> 5.100"
    }
  }
}
